//! What the hub says of a file before its bytes come: the commit, the hash and the size.

use std::time::Duration;

use crate::hub::address::without_query;
use crate::hub::cache::is_commit;
use crate::hub::client::{Answer, Ask, Client, text};
use crate::hub::hub_error::{HubError, Trouble};
use crate::progress::Progress;

/// The longest name that a server's hash may have: it becomes a file's name.
const ETAG_MAX_BYTES: usize = 128;

/// A file as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The commit that the revision is at.
    pub(crate) commit: String,
    /// SHA-256 of a large file, the git blob's SHA-1 of a small one; in a mirror perhaps another name.
    pub(crate) etag: String,
    /// Its size.
    pub(crate) bytes: u64,
}

/// What an answer is about, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) repository: &'a str,
    /// The catalogue knows that the licence has to be accepted.
    pub(crate) gated: bool,
    /// Whether a token is sent.
    pub(crate) token: bool,
}

/// Asks what the file at `url` is.
pub(crate) fn describe(
    client: &Client<'_>,
    about: About<'_>,
    url: &str,
    progress: &dyn Progress,
) -> Result<Remote, Trouble> {
    let answer = client.ask(Ask::Head, url, progress)?;
    judge(&answer, about)?;
    let missing = |what: &str| HubError::Reply {
        what: format!("{url} has no {what}"),
    };
    let header = |name: &str| text(&answer.hub, name);
    // A page that is nobody's file: the network's login, or a proxy that speaks for itself.
    let commit = header("x-repo-commit").ok_or_else(|| {
        if is_page(&answer) {
            login_page(&answer)
        } else {
            missing("X-Repo-Commit")
        }
    })?;
    let etag = etag(&answer).ok_or_else(|| missing("ETag that could name a file"))?;
    let bytes = header("x-linked-size")
        .or_else(|| header("content-length"))
        .and_then(|size| size.trim().parse().ok())
        .ok_or_else(|| missing("size"))?;
    if !is_commit(commit) {
        return Err(missing("X-Repo-Commit that names a commit").into());
    }
    Ok(Remote {
        commit: commit.to_owned(),
        etag,
        bytes,
    })
}

/// The hash that the endpoint tells, out of its quotes; `None` too where it cannot name a file.
pub(crate) fn etag(answer: &Answer) -> Option<String> {
    let raw = text(&answer.hub, "x-linked-etag").or_else(|| text(&answer.hub, "etag"))?;
    let etag = raw.trim().trim_start_matches("W/").trim_matches('"');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (!etag.is_empty() && etag.len() <= ETAG_MAX_BYTES && etag.bytes().all(plain))
        .then(|| etag.to_owned())
}

/// Whether the answer is a page for a person.
pub(crate) fn is_page(answer: &Answer) -> bool {
    answer.header("content-type").is_some_and(|kind| {
        kind.trim_start()
            .to_ascii_lowercase()
            .starts_with("text/html")
    }) && !std::path::Path::new(answer.url.path())
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("html"))
}

pub(crate) fn login_page(answer: &Answer) -> HubError {
    HubError::LoginPage { url: shown(answer) }
}

fn shown(answer: &Answer) -> String {
    without_query(&answer.url.to_string()).to_owned()
}

/// Refuses every answer that is neither the file nor the way to it.
pub(crate) fn judge(answer: &Answer, about: About<'_>) -> Result<(), HubError> {
    let status = answer.status;
    let code = text(&answer.hub, "x-error-code").unwrap_or_default();
    let page = || {
        format!(
            "{}/{}",
            about.endpoint.trim_end_matches('/'),
            about.repository
        )
    };
    match status {
        200..=399 => Ok(()),
        401 | 403 if code == "GatedRepo" || about.gated => Err(HubError::Gated {
            status,
            page: page(),
        }),
        401 | 403 => Err(HubError::Refused {
            status,
            token: about.token,
        }),
        404 => Err(HubError::NotFound {
            what: match code {
                "RepoNotFound" => "repository",
                "RevisionNotFound" => "revision",
                _ => "file",
            },
            url: shown(answer),
        }),
        429 => Err(HubError::TooMany {
            after: retry_after(answer),
        }),
        _ => Err(HubError::Status {
            status,
            url: shown(answer),
            after: retry_after(answer),
        }),
    }
}

/// Seconds; a date is passed over, and the pause is then our own.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let seconds = answer.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
