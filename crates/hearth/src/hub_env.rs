//! What the environment says of the Hugging Face Hub and the way to it: the names that `huggingface_hub`, curl and
//! OpenSSL know.

use std::path::{Path, PathBuf};

use weights::{HubOptions, Secret};

/// The hub's options out of this process's environment.
pub(crate) fn hub_options() -> HubOptions {
    read(
        &|name| std::env::var(name).ok(),
        dirs::home_dir().as_deref(),
    )
}

/// The options out of what `lookup` says of a name; `home` is the user's folder.
fn read(lookup: &dyn Fn(&str) -> Option<String>, home: Option<&Path>) -> HubOptions {
    // An empty value is the usual way to unset a name for one command.
    let value = |names: &[&str]| {
        let mut found = names.iter().filter_map(|name| lookup(name));
        found.find(|value| !value.trim().is_empty())
    };
    let path = |name: &str| value(&[name]).map(|text| expand(&text, home));
    let is_set = |name: &str| {
        value(&[name]).is_some_and(|text| {
            let text = text.trim().to_ascii_lowercase();
            matches!(text.as_str(), "1" | "true" | "yes" | "on")
        })
    };
    let hub_home = path("HF_HOME").or_else(|| {
        path("XDG_CACHE_HOME")
            .or_else(|| home.map(|home| home.join(".cache")))
            .map(|cache| cache.join("huggingface"))
    });
    let token_file = || {
        let file = path("HF_TOKEN_PATH").or_else(|| Some(hub_home.as_ref()?.join("token")))?;
        std::fs::read_to_string(file).ok()
    };
    let token = value(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
        .or_else(|| token_file().filter(|_| !is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN")))
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty());
    let usual = HubOptions::default();
    HubOptions {
        endpoint: value(&["HF_ENDPOINT"]).unwrap_or(usual.endpoint),
        cache: path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hub_home.as_ref().map(|hub_home| hub_home.join("hub"))),
        offline: is_set("HF_HUB_OFFLINE"),
        token: token.map(Secret::new),
        http_proxy: value(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]).map(Secret::new),
        https_proxy: value(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
            .map(Secret::new),
        no_proxy: value(&["no_proxy", "NO_PROXY"]).unwrap_or_default(),
        extra_roots: path("SSL_CERT_FILE"),
        ..usual
    }
}

/// A path in which `~` is the user's folder, as Python reads it.
fn expand(text: &str, home: Option<&Path>) -> PathBuf {
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], home: &Path) -> HubOptions {
        let lookup = |name: &str| {
            let pair = pairs.iter().find(|(known, _)| *known == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        read(&lookup, Some(home))
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        let home = Path::new("/home/me");
        for (pairs, cache) in [
            (&[][..], "/home/me/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/c")], "/c/huggingface/hub"),
            (
                &[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/c")],
                "/home/me/hf/hub",
            ),
            (&[("HF_HUB_CACHE", "/x"), ("HF_HOME", "/hf")], "/x"),
            (&[("HF_HUB_CACHE", ""), ("HF_HOME", "/hf")], "/hf/hub"),
        ] {
            assert_eq!(
                of(pairs, home).cache.as_deref(),
                Some(Path::new(cache)),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn a_token_comes_from_the_environment_or_the_file_that_the_login_left() {
        let home = tempfile::tempdir().unwrap();
        let hub_home = home.path().join(".cache/huggingface");
        std::fs::create_dir_all(&hub_home).unwrap();
        assert_eq!(of(&[], home.path()).token, None);
        std::fs::write(hub_home.join("token"), "hf_file\n").unwrap();
        let token = |pairs: &[(&str, &str)]| of(pairs, home.path()).token;
        assert_eq!(token(&[]), Some(Secret::new("hf_file")));
        assert_eq!(
            token(&[("HF_TOKEN", "hf_env")]),
            Some(Secret::new("hf_env"))
        );
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
    }

    #[test]
    fn a_mirror_a_proxy_and_offline_are_taken_over() {
        let pairs = [
            ("HF_ENDPOINT", "https://mirror.example"),
            ("HTTPS_PROXY", "http://proxy.example:3128"),
            ("NO_PROXY", "localhost"),
            ("SSL_CERT_FILE", "/etc/ca.pem"),
            ("HF_HUB_OFFLINE", "True"),
        ];
        let options = of(&pairs, Path::new("/home/me"));
        assert_eq!(options.endpoint, "https://mirror.example");
        assert_eq!(
            options.https_proxy,
            Some(Secret::new("http://proxy.example:3128"))
        );
        assert_eq!(options.http_proxy, None);
        assert_eq!(options.no_proxy, "localhost");
        assert_eq!(
            options.extra_roots.as_deref(),
            Some(Path::new("/etc/ca.pem"))
        );
        assert!(options.offline && !of(&[], Path::new("/")).offline);
    }
}
