//! The variables of the command. What is set already stays as it is: a real token above all.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use crate::failure::Stop;

/// An account id where none is set: tools want 32 hexadecimal digits, hearth takes any.
const ACCOUNT: &str = "00000000000000000000000000000000";
/// A token where none is set: tools want one, and a hearth without a token of its own takes any.
const TOKEN: &str = "hearth";

const ACCOUNT_NAMES: &[&str] = &["CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID"];
/// Where hearth's own packages for Node and Python look for it.
const OWN_URL: &str = "HEARTH_URL";
/// Where they look for its token.
const OWN_TOKEN: &str = "HEARTH_TOKEN";
const TOKEN_NAMES: &[&str] = &[
    "CLOUDFLARE_API_TOKEN",
    "CF_API_TOKEN",
    "CLOUDFLARE_API_KEY",
    "CF_API_KEY",
];

/// What the variables are made of.
pub(super) struct Wanted<'a> {
    /// `http://address:port` of the server.
    pub(super) base: &'a str,
    /// The server's token.
    pub(super) token: Option<&'a str>,
    /// The file that Node loads.
    pub(super) preload: &'a Path,
    /// Whether OpenAI's clients are to ask hearth, too.
    pub(super) openai: bool,
}

/// Variables to set, and what to say of them.
#[derive(Debug)]
pub(super) struct Variables {
    pub(super) set: Vec<(&'static str, OsString)>,
    pub(super) told: Vec<String>,
}

/// Whether a `HEARTH_URL` that is there names the server that is wanted, before one is looked for or started.
///
/// # Errors
/// When it names another one. A port that is yet to be chosen (0) is another one.
pub(super) fn agree(
    address: SocketAddr,
    there: impl Fn(&str) -> Option<OsString>,
) -> Result<(), Stop> {
    let Some(url) = there(OWN_URL).filter(|url| !url.is_empty()) else {
        return Ok(());
    };
    let url = url.to_string_lossy();
    if url.trim_end_matches('/') == format!("http://{address}") {
        return Ok(());
    }
    Err(Stop::usage(format!(
        "HEARTH_URL is {url}, and this hearth is http://{address}: unset it, or name that address with --listen"
    )))
}

/// Chooses the variables, given those that are there.
pub(super) fn choose(wanted: &Wanted<'_>, there: impl Fn(&str) -> Option<OsString>) -> Variables {
    let mut chosen = Variables {
        set: Vec::new(),
        told: Vec::new(),
    };
    if there(OWN_URL).is_none_or(|url| url.is_empty()) {
        chosen.set(OWN_URL, wanted.base.into());
    }
    let options = node_options(there("NODE_OPTIONS"), wanted.preload);
    chosen.set("NODE_OPTIONS", options);
    let api = format!("{}/client/v4", wanted.base);
    let token = wanted.token.unwrap_or(TOKEN);
    let mut plain = vec![
        (
            "CLOUDFLARE_API_BASE_URL",
            api.clone(),
            &["CLOUDFLARE_API_BASE_URL", "CF_API_BASE_URL"][..],
        ),
        ("CLOUDFLARE_BASE_URL", api.clone(), &["CLOUDFLARE_BASE_URL"]),
        ("CLOUDFLARE_ACCOUNT_ID", ACCOUNT.into(), ACCOUNT_NAMES),
        ("CLOUDFLARE_API_TOKEN", token.into(), TOKEN_NAMES),
        // The Vite plugin then starts no session of remote bindings.
        (
            "CLOUDFLARE_VITE_FORCE_LOCAL",
            "true".into(),
            &["CLOUDFLARE_VITE_FORCE_LOCAL"],
        ),
    ];
    if wanted.openai {
        let base = format!("{api}/accounts/{ACCOUNT}/ai/v1");
        plain.push(("OPENAI_BASE_URL", base, &["OPENAI_BASE_URL"]));
        plain.push(("OPENAI_API_KEY", token.into(), &["OPENAI_API_KEY"]));
    }
    if let Some(token) = wanted.token {
        plain.push((OWN_TOKEN, token.into(), &[OWN_TOKEN]));
    }
    for (name, value, names) in plain {
        match names
            .iter()
            .find(|name| there(name).is_some_and(|value| !value.is_empty()))
        {
            Some(set) => chosen
                .told
                .push(format!("{set} is set already and stays as it is")),
            None => chosen.set(name, value.into()),
        }
    }
    chosen
}

impl Variables {
    fn set(&mut self, name: &'static str, value: OsString) {
        let is_secret =
            TOKEN_NAMES.contains(&name) || ["OPENAI_API_KEY", OWN_TOKEN].contains(&name);
        let shown = match value.to_string_lossy() {
            secret if is_secret && secret != TOKEN => "(the server's token)".into(),
            value => value,
        };
        self.told.push(format!("sets {name}={shown}"));
        self.set.push((name, value));
    }
}

/// Options for Node that load the file, behind those that are there.
fn node_options(there: Option<OsString>, preload: &Path) -> OsString {
    // Node splits at spaces, takes double quotes away and reads a backslash within them as an escape.
    let path = preload.to_string_lossy();
    let path = path.replace('\\', "\\\\").replace('"', "\\\"");
    let mut options = there.unwrap_or_default();
    if !options.is_empty() {
        options.push(" ");
    }
    options.push(format!("--require \"{path}\""));
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(there: &[(&str, &str)], openai: bool) -> Variables {
        let wanted = Wanted {
            base: "http://127.0.0.1:7777",
            token: None,
            preload: Path::new("/a b/preload.cjs"),
            openai,
        };
        choose(&wanted, |name| {
            let found = there.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value.into())
        })
    }

    fn value<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
        let found = variables.set.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_str().unwrap())
    }

    #[test]
    fn what_is_set_is_never_overwritten() {
        let there = [
            ("CLOUDFLARE_API_TOKEN", "real"),
            ("CLOUDFLARE_API_BASE_URL", "https://elsewhere"),
            ("OPENAI_API_KEY", "real"),
        ];
        let variables = chosen(&there, true);
        for (name, _) in there {
            assert_eq!(value(&variables, name), None);
        }
        assert!(!variables.told.join("\n").contains("real"));
        let with_key = chosen(&[("CLOUDFLARE_API_KEY", "real")], false);
        assert_eq!(value(&with_key, "CLOUDFLARE_API_TOKEN"), None);
    }

    #[test]
    fn options_of_node_are_added_to() {
        let variables = chosen(&[("NODE_OPTIONS", "--no-warnings")], false);
        assert_eq!(
            value(&variables, "NODE_OPTIONS"),
            Some(r#"--no-warnings --require "/a b/preload.cjs""#)
        );
    }

    #[test]
    fn openai_s_clients_are_left_alone_unless_asked_for() {
        assert_eq!(value(&chosen(&[], false), "OPENAI_BASE_URL"), None);
        let variables = chosen(&[], true);
        assert!(
            value(&variables, "OPENAI_BASE_URL")
                .unwrap()
                .ends_with("/ai/v1")
        );
        assert_eq!(variables.set.len(), variables.told.len(), "each is told");
    }

    #[test]
    fn another_server_s_address_is_refused() {
        let address = "127.0.0.1:7777".parse().unwrap();
        let agrees = |url: &str| agree(address, |name| (name == OWN_URL).then(|| url.into()));
        assert!(agrees("http://b").is_err());
        assert!(agrees("http://127.0.0.1:7777/").is_ok());
        assert!(agree(address, |_| None).is_ok());
    }

    #[test]
    fn a_token_is_given_and_not_told() {
        let wanted = Wanted {
            base: "http://127.0.0.1:7777",
            token: Some("sesame"),
            preload: Path::new("/p"),
            openai: false,
        };
        let variables = choose(&wanted, |_| None);
        assert_eq!(value(&variables, OWN_TOKEN), Some("sesame"));
        assert_eq!(value(&variables, "CLOUDFLARE_API_TOKEN"), Some("sesame"));
        assert!(!variables.told.join("\n").contains("sesame"));
    }
}
