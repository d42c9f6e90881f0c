//! The bytes of one blob: from the hub, or from where it sends us, into the cache; resumed, bounded and verified.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::digest::{Sum, sync};
use crate::fetch_error::{reading, writing};
use crate::hub::attempts::Attempts;
use crate::hub::cache::Repository;
use crate::hub::client::{Answer, Ask, Client, text};
use crate::hub::content::{Hasher, Promise};
use crate::hub::hub_error::{HubError, Trouble};
use crate::hub::remote::{About, Remote, etag, is_page, judge, login_page};
use crate::progress::Progress;

/// One blob to be fetched, whose lock the caller holds.
pub(crate) struct Transfer<'a> {
    pub(crate) client: &'a Client<'a>,
    pub(crate) about: About<'a>,
    pub(crate) repository: &'a Repository,
    pub(crate) url: &'a str,
    pub(crate) remote: &'a Remote,
    pub(crate) promise: Promise<'a>,
    pub(crate) progress: &'a dyn Progress,
}

/// Where in the file an answer begins, and the storage's own name for the whole.
struct Start {
    at: u64,
    storage: Option<String>,
}

impl Transfer<'_> {
    /// Fetches until the blob is whole and verified under its name, or there is no attempt left.
    /// [`HubError::Changed`] is for the caller, who has to ask anew what the file is.
    pub(crate) fn run(&self, attempts: &mut Attempts<'_>) -> Result<Sum, Trouble> {
        let mut storage = None;
        loop {
            match self.once(&mut storage, attempts) {
                Err(Trouble::Hub(HubError::Changed)) => return Err(HubError::Changed.into()),
                Err(trouble) => attempts.failed(trouble)?,
                Ok(sum) => return Ok(sum),
            }
        }
    }

    fn once(
        &self,
        storage: &mut Option<String>,
        attempts: &mut Attempts<'_>,
    ) -> Result<Sum, Trouble> {
        let partial = self.repository.partial(&self.remote.etag);
        let mut have = std::fs::metadata(&partial).map_or(0, |found| found.len());
        if have > self.remote.bytes {
            drop_part(&partial)?;
            have = 0;
        }
        let resumed = have > 0;
        let mut hasher = Hasher::new(&self.remote.etag, self.remote.bytes);
        let file = if resumed && have == self.remote.bytes {
            hasher.read(&partial)?;
            OpenOptions::new().write(true).open(&partial)
        } else {
            let answer = self.client.ask(Ask::Bytes(have), self.url, self.progress)?;
            attempts.reached();
            let start = self.start(&answer, have, &partial)?;
            // The storage has another file now: what is there of the old one is of no use.
            if start.at > 0 && storage.is_some() && *storage != start.storage {
                drop_part(&partial)?;
                return Err(HubError::Range {
                    what: "another file".to_owned(),
                }
                .into());
            }
            storage.clone_from(&start.storage);
            let file = if start.at > 0 {
                hasher.read(&partial)?;
                OpenOptions::new().append(true).open(&partial)
            } else {
                File::create(&partial)
            };
            let mut file = file.map_err(writing(&partial))?;
            self.receive(&answer, &mut file, &mut hasher, start.at, attempts)?;
            Ok(file)
        };
        file.and_then(|file| file.sync_all())
            .map_err(writing(&partial))?;
        match hasher.finish(self.promise) {
            Ok(sum) => {
                let blob = self.repository.blob(&self.remote.etag);
                std::fs::rename(&partial, &blob).map_err(writing(&blob))?;
                sync(&self.repository.blobs())?;
                Ok(sum)
            }
            Err((want, have)) => {
                drop_part(&partial)?;
                Err(if resumed {
                    HubError::Part
                } else {
                    HubError::Hash { want, have }
                }
                .into())
            }
        }
    }

    /// Judges the head of an answer to a request for the bytes from `have` on.
    fn start(&self, answer: &Answer, have: u64, partial: &Path) -> Result<Start, Trouble> {
        let want = self.remote.bytes;
        let away = text(&answer.hub, "location").is_some();
        match answer.status {
            416 => {
                drop_part(partial)?;
                return Err(HubError::Range {
                    what: "status 416".to_owned(),
                }
                .into());
            }
            // An address of the storage is signed, and good for a while only.
            status @ 400..=428 if away => {
                return Err(HubError::Cut {
                    detail: format!("the storage answered with status {status}"),
                }
                .into());
            }
            _ => judge(answer, self.about)?,
        }
        if is_page(answer) {
            return Err(login_page(answer).into());
        }
        if etag(answer).is_some_and(|etag| etag != self.remote.etag) {
            return Err(HubError::Changed.into());
        }
        let storage = answer.header("etag").map(str::to_owned);
        if answer.status == 206 {
            let range = answer.header("content-range").unwrap_or("no range");
            if have > 0 && is_rest(range, have, want) {
                return Ok(Start { at: have, storage });
            }
            drop_part(partial)?;
            return Err(HubError::Range {
                what: format!("{range:?}"),
            }
            .into());
        }
        if answer.status != 200 {
            return Err(HubError::Reply {
                what: format!("status {} for a file", answer.status),
            }
            .into());
        }
        let told = answer
            .header("content-length")
            .and_then(|text| text.trim().parse().ok());
        match told {
            Some(have) if have != want => {
                drop_part(partial)?;
                Err(HubError::Length { want, have }.into())
            }
            _ => Ok(Start { at: 0, storage }),
        }
    }

    /// Writes what comes, as it comes: a killed run finds it again.
    fn receive(
        &self,
        answer: &Answer,
        file: &mut File,
        hasher: &mut Hasher,
        start: u64,
        attempts: &mut Attempts<'_>,
    ) -> Result<(), Trouble> {
        let partial = self.repository.partial(&self.remote.etag);
        let want = self.remote.bytes;
        let mut have = start;
        self.progress.advanced(have);
        while let Some(bytes) = answer.next(self.progress)? {
            have += bytes.len() as u64;
            if have > want {
                drop_part(&partial)?;
                return Err(HubError::Length { want, have }.into());
            }
            file.write_all(&bytes).map_err(writing(&partial))?;
            hasher.update(&bytes);
            attempts.at(have);
            self.progress.advanced(have);
        }
        if have < want {
            return Err(HubError::Cut {
                detail: format!("{have} of {want} bytes"),
            }
            .into());
        }
        Ok(())
    }
}

/// Whether a `Content-Range` is the rest of `want` bytes from `have` on.
fn is_rest(range: &str, have: u64, want: u64) -> bool {
    let Some((span, whole)) = range
        .strip_prefix("bytes ")
        .and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    let span = span.split_once('-');
    let number = |text: &str| text.trim().parse::<u64>().ok();
    span.is_some_and(|(first, last)| {
        number(first) == Some(have) && number(last).is_some_and(|last| last < want)
    }) && (whole.trim() == "*" || number(whole) == Some(want))
}

fn drop_part(partial: &Path) -> Result<(), Trouble> {
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(reading(partial)(error).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::is_rest;

    #[test]
    fn only_the_rest_of_the_file_is_the_rest() {
        for good in ["bytes 5-9/10", "bytes 5-9/*", "bytes 5-7/10"] {
            assert!(is_rest(good, 5, 10), "{good}");
        }
        for bad in [
            "bytes 4-9/10",
            "bytes 6-9/10",
            "bytes 5-9/11",
            "bytes 5-10/10",
            "bytes */10",
            "items 5-9/10",
            "bytes 5/10",
            "",
            "bytes 5-9",
        ] {
            assert!(!is_rest(bad, 5, 10), "{bad}");
        }
    }
}
