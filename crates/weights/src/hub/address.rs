//! Addresses of the hub: how they are written, where a redirect leads, and which go without a proxy.

use std::fmt::Write as _;

use ureq::http::Uri;

use crate::hub::hub_error::HubError;

/// The address of a file: `{endpoint}/{repository}/resolve/{revision}/{path}`.
pub(crate) fn resolve(endpoint: &str, repository: &str, revision: &str, path: &str) -> String {
    format!(
        "{}/{}/resolve/{}/{}",
        endpoint.trim_end_matches('/'),
        escape(repository, true),
        escape(revision, false),
        escape(path, true)
    )
}

/// The address of what the hub says of a repository: `{endpoint}/api/models/{repository}/revision/{revision}`, with
/// the sizes of its files.
pub(crate) fn listing(endpoint: &str, repository: &str, revision: &str) -> String {
    format!(
        "{}/api/models/{}/revision/{}?blobs=true",
        endpoint.trim_end_matches('/'),
        escape(repository, true),
        escape(revision, false)
    )
}

/// Percent-encodes all but the unreserved characters of RFC 3986, and `/` where it parts folders.
fn escape(text: &str, keep_slash: bool) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || (keep_slash && byte == b'/') {
            out.push(byte as char);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

pub(crate) fn parse(address: &str) -> Result<Uri, HubError> {
    let wrong = || HubError::Setting {
        what: format!("{:?} is no http or https address", without_query(address)),
    };
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(wrong()),
    }
}

/// Scheme, host and port.
pub(crate) fn same_origin(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| {
        let usual = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        uri.port_u16().unwrap_or(usual)
    };
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    one.scheme_str() == other.scheme_str() && host(one) == host(other) && port(one) == port(other)
}

/// Where `location`, the answer of `from`, leads.
pub(crate) fn redirect(from: &Uri, location: &str) -> Result<Uri, HubError> {
    let wrong = |what: &str| HubError::Reply {
        what: format!("a redirect {what} ({})", without_query(location)),
    };
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let whole = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = from
            .path()
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    let to = parse(&whole).map_err(|_| wrong("leads nowhere"))?;
    if scheme == "https" && to.scheme_str() != Some("https") {
        return Err(wrong("leaves https"));
    }
    Ok(to)
}

/// An address for messages: a query may hold a signature.
pub(crate) fn without_query(address: &str) -> &str {
    address.split(['?', '#']).next().unwrap_or(address)
}

/// Whether `host` is one of the names of `no_proxy` or under one of them.
pub(crate) fn is_direct(no_proxy: &str, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    no_proxy.split(',').map(str::trim).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let name = entry.trim_start_matches('*').trim_start_matches('.');
        entry == "*"
            || (!name.is_empty()
                && (host == name
                    || host
                        .strip_suffix(name)
                        .is_some_and(|rest| rest.ends_with('.'))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_an_address_needs_them() {
        let address = resolve("https://m.example/hf/", "o/n", "refs/pr/1", "a b/c#.bin");
        assert_eq!(
            address,
            "https://m.example/hf/o/n/resolve/refs%2Fpr%2F1/a%20b/c%23.bin"
        );
    }

    #[test]
    fn redirects_lead_where_rfc_3986_says_and_never_out_of_https() {
        let from = parse("https://hub.example:8443/o/n/resolve/main/f?x=1").unwrap();
        for (location, to) in [
            ("https://cdn.example/f?sig=a", "https://cdn.example/f?sig=a"),
            ("//cdn.example/f", "https://cdn.example/f"),
            ("/other/f", "https://hub.example:8443/other/f"),
            ("g", "https://hub.example:8443/o/n/resolve/main/g"),
        ] {
            assert_eq!(redirect(&from, location).unwrap().to_string(), to);
        }
        assert!(redirect(&from, "http://cdn.example/f").is_err());
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let uri = |text: &str| parse(text).unwrap();
        let hub = uri("https://hub.example/x");
        assert!(same_origin(&hub, &uri("https://HUB.example:443/y")));
        for other in [
            "http://hub.example/",
            "https://hub.example:444/",
            "https://a.hub.example/",
        ] {
            assert!(!same_origin(&hub, &uri(other)), "{other}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_and_what_is_under_them() {
        let list = "localhost, .example.com,*.corp,10.0.0.1";
        for host in [
            "localhost",
            "example.com",
            "a.example.com",
            "x.corp",
            "10.0.0.1",
            "LOCALHOST",
        ] {
            assert!(is_direct(list, host), "{host}");
        }
        for host in ["badexample.com", "huggingface.co", "110.0.0.1", ""] {
            assert!(!is_direct(list, host), "{host}");
        }
        assert!(is_direct("*", "huggingface.co"));
        assert!(!is_direct("", "huggingface.co"));
    }
}
