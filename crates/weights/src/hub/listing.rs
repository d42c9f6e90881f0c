//! What the hub says of a whole repository at a revision: its commit, its files and who may have them.

use serde::Deserialize;

use crate::hub::HubSet;
use crate::hub::address;
use crate::hub::attempts::Attempts;
use crate::hub::cache::is_commit;
use crate::hub::client::{Ask, Client};
use crate::hub::hub_error::{HubError, Trouble};
use crate::hub::remote::{About, is_page, judge, login_page};
use crate::progress::Progress;

/// The longest list of files that is read, in bytes; a file takes some 300 of them.
const LISTING_MAX_BYTES: usize = 8 << 20;

/// A repository as the hub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// `owner/name`, by which it is known now.
    pub(crate) name: String,
    /// The commit that the revision is at.
    pub(crate) commit: String,
    /// Whether a licence has to be accepted first.
    pub(crate) gated: bool,
    pub(crate) files: Vec<ListedFile>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedFile {
    pub(crate) path: String,
    /// Its size in bytes, where the hub tells it.
    pub(crate) bytes: Option<u64>,
    /// Its SHA-256, which the hub tells of large files.
    pub(crate) sha256: Option<String>,
}

/// The answer of `/api/models/{repository}/revision/{revision}?blobs=true`, as `huggingface_hub` reads it.
#[derive(Deserialize)]
struct Answered {
    id: String,
    sha: String,
    /// `false`, or the way in which access is given (`auto`, `manual`).
    #[serde(default)]
    gated: serde_json::Value,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    sha256: Option<String>,
}

impl HubSet<'_> {
    /// Asks for the listing, until there is an answer or no attempt left.
    pub(crate) fn listing(&self, progress: &dyn Progress) -> Result<Listing, Trouble> {
        let client = Client::new(self.options)?;
        let mut attempts = Attempts::new(self.options, &self.set.name, progress);
        loop {
            match self.listing_once(&client, progress) {
                Err(trouble) => attempts.failed(trouble)?,
                Ok(listing) => return Ok(listing),
            }
        }
    }

    fn listing_once(
        &self,
        client: &Client<'_>,
        progress: &dyn Progress,
    ) -> Result<Listing, Trouble> {
        let url = address::listing(&self.options.endpoint, self.name, self.revision);
        let answer = client.ask(Ask::Bytes(0), &url, progress)?;
        // The list of a gated repository is open: a refusal has another reason.
        let about = About {
            gated: false,
            ..self.about()
        };
        judge(&answer, about)?;
        if is_page(&answer) {
            return Err(login_page(&answer).into());
        }
        let wrong = |what: String| HubError::Reply {
            what: format!("{}: {what}", address::without_query(&url)),
        };
        let mut text = Vec::new();
        while let Some(bytes) = answer.next(progress)? {
            text.extend_from_slice(&bytes);
            if text.len() > LISTING_MAX_BYTES {
                return Err(wrong(format!("more than {LISTING_MAX_BYTES} bytes")).into());
            }
        }
        let told: Answered =
            serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
        if !is_commit(&told.sha) {
            return Err(wrong("its \"sha\" is no commit".to_owned()).into());
        }
        Ok(Listing {
            name: told.id,
            commit: told.sha,
            gated: told.gated.is_string() || told.gated == true,
            files: told.siblings.into_iter().map(ListedFile::from).collect(),
        })
    }
}

impl From<Sibling> for ListedFile {
    fn from(told: Sibling) -> Self {
        Self {
            path: told.rfilename,
            bytes: told.size,
            sha256: told.lfs.and_then(|large| large.sha256),
        }
    }
}
