//! Refuses commands that reach into an account: a deployment must not happen by a slip.

use std::path::Path;

use serde_json::Value;

use super::command::{Wrangler, wrangler};
use super::packages::ancestors;
use crate::failure::Stop;

/// Scripts within scripts that are followed.
const DEPTH_MAX: usize = 8;
/// Commands of wrangler that stay on this machine; all others ask an account, or change it.
const AT_HOME: [&str; 9] = [
    "dev",
    "types",
    "build",
    "check",
    "docs",
    "init",
    "ai",
    "telemetry",
    "complete",
];
/// Commands of `wrangler pages` that stay on this machine.
const PAGES_AT_HOME: [&str; 2] = ["dev", "functions"];
/// Flags of `wrangler dev` that run the Worker at Cloudflare, where no hearth is.
const REMOTE: [&str; 3] = ["--remote", "--remote=true", "-r"];
/// Flags of package managers that are followed by a value.
const WITH_VALUE: [&str; 7] = [
    "--prefix",
    "-C",
    "-w",
    "--workspace",
    "--filter",
    "-F",
    "--cwd",
];
/// Flags that keep any command of wrangler on this machine.
const HARMLESS: [&str; 6] = ["--dry-run", "--help", "-h", "--version", "-v", "--local"];

/// # Errors
/// For a command that would deploy, with the part that would.
pub(super) fn check(command: &[String]) -> Result<(), Stop> {
    let scripts = scripts(&std::env::current_dir().unwrap_or_default());
    match refused(command, &scripts, 0) {
        Some(part) => Err(Stop::usage(format!(
            "`{part}` asks or changes your account, or runs at Cloudflare where no hearth is, and hearth \
             dev is for development here: run it without hearth dev"
        ))),
        None => Ok(()),
    }
}

/// The scripts of the package that the working directory is in.
fn scripts(here: &Path) -> Value {
    let text = ancestors(here)
        .find_map(|folder| std::fs::read_to_string(folder.join("package.json")).ok());
    let package: Value = text
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    package["scripts"].clone()
}

/// The part of a command that may not be run.
fn refused(words: &[String], scripts: &Value, depth: usize) -> Option<String> {
    if depth > DEPTH_MAX {
        return None;
    }
    if let Some(call) = wrangler(words)
        && !is_at_home(&call)
    {
        let commands: Vec<&str> = call
            .commands
            .iter()
            .map(|(_, word)| *word)
            .take(2)
            .collect();
        return Some(format!("wrangler {}", commands.join(" ")));
    }
    let script = script(words).and_then(|name| scripts[name].as_str());
    let lines = words
        .iter()
        .map(String::as_str)
        .filter(|word| word.contains(char::is_whitespace));
    script
        .into_iter()
        .chain(lines)
        .flat_map(|line| line.split(['\n', ';', '&', '|', '(', ')']))
        .find_map(|part| refused(&split(part), scripts, depth + 1))
}

fn is_at_home(call: &Wrangler<'_>) -> bool {
    let mut commands = call.commands.iter().map(|(_, word)| *word);
    let is_listed = match commands.next() {
        None => true,
        Some("dev") if call.has(&REMOTE) => false,
        Some("pages") => commands
            .next()
            .is_none_or(|word| PAGES_AT_HOME.contains(&word)),
        Some(word) => AT_HOME.contains(&word),
    };
    is_listed || (call.has(&HARMLESS) && !call.has(&REMOTE))
}

/// The words of a part of a shell's line, as far as that can be told without a shell.
fn split(part: &str) -> Vec<String> {
    part.split_whitespace()
        .map(|word| word.trim_matches(['"', '\'', '`']).to_owned())
        .collect()
}

/// The name of the package's script that a package manager is asked to run.
fn script(words: &[String]) -> Option<&str> {
    let mut words = words.iter().map(String::as_str);
    let manager = words.find(|word| ["npm", "pnpm", "yarn", "bun"].contains(word))?;
    let mut is_value = false;
    let mut words = words.filter(|word| {
        let is_flag = word.starts_with('-');
        let is_skipped = is_flag || is_value;
        // pnpm's -w stands alone: the workspace's root.
        let is_alone = manager == "pnpm" && *word == "-w";
        is_value = is_flag && !is_alone && WITH_VALUE.contains(word);
        !is_skipped
    });
    match words.next()? {
        "run" | "run-script" => words.next(),
        name if manager != "npm" || ["start", "test", "stop", "restart"].contains(&name) => {
            Some(name)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused_part(line: &str) -> Option<String> {
        let scripts = json!({
            "dev": "wrangler dev",
            "ship": "npm test && wrangler deploy --minify",
            "release": "yarn ship",
            "loop": "npm run loop",
            "remote": "wrangler dev --remote",
            "start": "cross-env A=1 wrangler dev",
        });
        refused(&split(line), &scripts, 0)
    }

    #[test]
    fn deployments_are_refused_however_they_are_run() {
        for line in [
            "wrangler deploy",
            "wrangler publish",
            "wrangler versions upload",
            "wrangler secret put A",
            "wrangler rollback",
            "wrangler -c a.jsonc --env x deploy",
            "wrangler pages deploy dist",
            "wrangler d1 execute db --remote",
            "wrangler d1 execute db --remote --local",
            "npx wrangler deploy",
            "npx --yes wrangler@4.164.0 deploy",
            "pnpm wrangler deploy",
            "pnpm exec wrangler deploy",
            "yarn wrangler deploy",
            "bunx wrangler deploy",
            "bun x wrangler deploy",
            "node node_modules/wrangler/bin/wrangler.js deploy",
            "./node_modules/.bin/wrangler deploy",
            "npm run ship",
            "npm --prefix . run ship",
            "npm -w app run ship",
            "pnpm --filter app ship",
            "npm run remote",
            "wrangler dev --remote",
            "wrangler dev --remote=true",
            "wrangler dev -r --local",
            "pnpm ship",
            "pnpm -w ship",
            "yarn run release",
        ] {
            assert!(refused_part(line).is_some(), "{line}");
        }
        let shell = ["sh", "-c", "true && npx wrangler 'deploy'"].map(str::to_owned);
        assert_eq!(refused(&shell, &Value::Null, 0).unwrap(), "wrangler deploy");
    }

    #[test]
    fn development_is_not() {
        for line in [
            "wrangler dev",
            "wrangler types",
            "wrangler --version",
            "wrangler deploy --dry-run",
            "wrangler pages dev dist",
            "wrangler d1 execute db --local",
            "npm run dev",
            "npm start",
            "npm run loop",
            "npm run none",
            "vitest run",
            "vite",
            "python app.py deploy",
        ] {
            assert_eq!(refused_part(line), None, "{line}");
        }
    }
}
