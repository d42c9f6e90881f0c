//! The words of a command, and wrangler among them.

use super::packages::{Found, Version};

/// Names of wrangler's program, as they are typed or as files.
const NAMES: [&str; 6] = [
    "wrangler",
    "wrangler2",
    "wrangler.js",
    "wrangler.cmd",
    "cf-wrangler",
    "cf-wrangler.js",
];
/// Flags of wrangler whose value is the next word and which may stand before its command.
const FLAGS_WITH_VALUE: [&str; 8] = [
    "-c",
    "--config",
    "-e",
    "--env",
    "--env-file",
    "--cwd",
    "-n",
    "--name",
];
/// The first wrangler whose AI binding is a remote one unless it is told `--local`.
const FIRST_REMOTE: Version = Version(4, 36, 0);

/// A call of wrangler.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrangler<'a> {
    /// What follows `@`, where a runner is told a version.
    pub(super) version: Option<&'a str>,
    /// The words that are no flags, with their places.
    pub(super) commands: Vec<(usize, &'a str)>,
    /// All words behind the program.
    pub(super) arguments: &'a [String],
}

impl Wrangler<'_> {
    pub(super) fn has(&self, flags: &[&str]) -> bool {
        self.arguments
            .iter()
            .any(|word| flags.contains(&word.as_str()))
    }
}

/// The first call of wrangler in a command, however it is run (npx, pnpm, yarn, bunx, node, a path).
pub(super) fn wrangler(words: &[String]) -> Option<Wrangler<'_>> {
    let (place, version) = words
        .iter()
        .enumerate()
        .find_map(|(place, word)| Some((place, named(word)?)))?;
    let arguments = &words[place + 1..];
    let mut commands = Vec::new();
    let mut is_value = false;
    for (offset, word) in arguments.iter().enumerate() {
        if is_value {
            is_value = false;
        } else if word.starts_with('-') {
            is_value = FLAGS_WITH_VALUE.contains(&word.as_str());
        } else {
            commands.push((place + 1 + offset, word.as_str()));
        }
    }
    Some(Wrangler {
        version,
        commands,
        arguments,
    })
}

/// Whether a word names wrangler, and the version behind `@`.
#[allow(clippy::option_option)] // a name with a version, a name without, no name
fn named(word: &str) -> Option<Option<&str>> {
    let file = word.rsplit(['/', '\\']).next().unwrap_or(word);
    match file.split_once('@') {
        Some((name, version)) if NAMES.contains(&name) => Some(Some(version)),
        None if NAMES.contains(&file) => Some(None),
        _ => None,
    }
}

/// Adds `--local` where the command is `wrangler dev` of a version that would otherwise start a remote
/// session for the binding. Whether it did.
pub(super) fn make_local(command: &mut Vec<String>, found: &Found) -> bool {
    let Some(call) = wrangler(command) else {
        return false;
    };
    let Some(&(place, "dev")) = call.commands.first() else {
        return false;
    };
    let version = match call.version {
        Some(typed) => Version::parse(typed),
        None => found.wrangler(),
    };
    // A version that is not known is most likely the latest.
    let is_wanted = version.is_none_or(|version| version >= FIRST_REMOTE);
    let is_there = call.has(&["--local", "-l", "--no-local", "--local=true"]);
    if !is_wanted || is_there {
        return false;
    }
    command.insert(place + 1, "--local".into());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn local(text: &str, installed: &str) -> String {
        let mut command = words(text);
        make_local(&mut command, &Found::with_wrangler(installed));
        command.join(" ")
    }

    #[test]
    fn wrangler_dev_is_made_local_where_that_is_needed() {
        for runner in [
            "wrangler",
            "npx wrangler",
            "pnpm exec wrangler",
            "./node_modules/.bin/wrangler",
        ] {
            let told = local(&format!("{runner} dev --port 1"), "4.164.0");
            assert_eq!(told, format!("{runner} dev --local --port 1"));
        }
        for (unchanged, installed) in [
            ("wrangler dev", "4.30.0"),
            ("wrangler dev", "3.114.17"),
            ("npx wrangler@4.30.0 dev", "4.164.0"),
            ("wrangler dev --local", "4.164.0"),
            ("wrangler pages dev", "4.164.0"),
            ("wrangler types", "4.164.0"),
            ("vite dev", "4.164.0"),
            ("npm run dev", "4.164.0"),
        ] {
            assert_eq!(local(unchanged, installed), unchanged);
        }
        let told = local("npx wrangler@4.164.0 -c a.jsonc dev", "3.114.17");
        assert_eq!(told, "npx wrangler@4.164.0 -c a.jsonc dev --local");
        assert_eq!(local("wrangler dev", "none"), "wrangler dev --local");
    }
}
