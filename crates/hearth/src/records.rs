//! The ledger of a server: opened, or told why not.

use ledger::{Ledger, LedgerError, Opened};

use crate::config::{Place, Records};
use crate::failure::Stop;

/// Opens the ledger. One that was asked for by its folder has to open; without a word about it, the server goes on
/// without: two servers may share a home.
///
/// # Errors
/// What is wrong with a folder that was named.
pub(crate) fn open(records: &Records, place: &Place) -> Result<Option<Ledger>, Stop> {
    let opened = match records {
        Records::Off => return Ok(None),
        Records::Folder(folder) => {
            let opened = Ledger::open(folder);
            opened.map_err(|error| Stop::failed(error.to_string()))?
        }
        Records::Default => match Ledger::open(&place.records) {
            Ok(opened) => opened,
            Err(error) => {
                tell(&error);
                return Ok(None);
            }
        },
    };
    let Opened {
        ledger,
        moved_aside,
    } = opened;
    if let Some(aside) = moved_aside {
        tracing::error!(
            "the ledger could not be read, and is now {}; a new one was begun, without the batches, fine-tunes and \
             usage of the old one",
            aside.display()
        );
    }
    Ok(Some(ledger))
}

fn tell(error: &LedgerError) {
    tracing::warn!("{error}. Batches, fine-tunes and usage are off here");
}
