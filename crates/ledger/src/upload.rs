//! A file of a fine-tune on its way to disk: written as it comes, looked into when it is whole, and in its place
//! under its name only then.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use uuid::Uuid;

use crate::finetunes::FOLDER;
use crate::ledger_error::{LedgerError, at};
use crate::{ADAPTER_MAX_BYTES, Asset, Finetune, Ledger};

/// Unfinished files begin so.
const PREFIX: &str = ".upload-";

/// A file that is being uploaded; dropping it removes what there is.
#[derive(Debug)]
pub struct Upload {
    ledger: Ledger,
    finetune: Finetune,
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Ledger {
    /// Begins a file of a fine-tune. Which of the two it is, is said at its end.
    ///
    /// # Errors
    /// [`LedgerError::Unknown`], [`LedgerError::Disk`].
    pub fn upload(&self, id_or_name: &str) -> Result<Upload, LedgerError> {
        let finetune = self
            .finetune(id_or_name)?
            .ok_or_else(|| LedgerError::Unknown(format!("the fine-tune {id_or_name:?}")))?;
        let folder = self.folder().join(FOLDER).join(finetune.id.to_string());
        fs::create_dir_all(&folder).map_err(at(&folder))?;
        let path = folder.join(format!("{PREFIX}{}", Uuid::new_v4()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(at(&path))?;
        Ok(Upload {
            ledger: self.clone(),
            finetune,
            path,
            file,
            bytes: 0,
        })
    }
}

impl Upload {
    /// Adds bytes.
    ///
    /// # Errors
    /// [`LedgerError::FileTooLarge`], [`LedgerError::Disk`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), LedgerError> {
        self.bytes += bytes.len() as u64;
        if self.bytes > ADAPTER_MAX_BYTES {
            return Err(LedgerError::FileTooLarge {
                name: Asset::Weights.file_name(),
                limit_bytes: ADAPTER_MAX_BYTES,
            });
        }
        self.file.write_all(bytes).map_err(at(&self.path))
    }

    /// Looks into the file and puts it in its place, durably.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyUploaded`], [`LedgerError::FileTooLarge`], [`LedgerError::Refused`] with what is wrong
    /// in the file, [`LedgerError::Disk`].
    pub fn finish(self, asset: Asset, now: SystemTime) -> Result<(), LedgerError> {
        let name = asset.file_name();
        if self.bytes > asset.max_bytes() {
            return Err(LedgerError::FileTooLarge {
                name,
                limit_bytes: asset.max_bytes(),
            });
        }
        asset.check(&self.path, self.bytes, self.finetune.rank_max)?;
        self.file.sync_all().map_err(at(&self.path))?;
        let id = self.finetune.id;
        let place = self.ledger.asset_path(id, asset);
        // Of two uploads at once one wins; the other's file replaces nothing.
        let _one_at_a_time = self.ledger.shared.placing();
        if self.ledger.has_asset(id, asset)? {
            return Err(LedgerError::AlreadyUploaded { name });
        }
        fs::rename(&self.path, &place).map_err(at(&place))?;
        if let Some(folder) = place.parent() {
            sync_folder(folder)?;
        }
        self.ledger.keep_asset(id, asset, self.bytes, now)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // after a rename there is nothing under this name
    }
}

/// Makes a rename durable, where a folder can be opened for it.
fn sync_folder(folder: &Path) -> Result<(), LedgerError> {
    if cfg!(unix) {
        let opened = File::open(folder).map_err(at(folder))?;
        opened.sync_all().map_err(at(folder))?;
    }
    Ok(())
}

/// Removes what uploads left that were cut off with their process.
pub(crate) fn remove_leftovers(folder: &Path) {
    let Ok(folders) = fs::read_dir(folder.join(FOLDER)) else {
        return; // there is none yet
    };
    for folder in folders.flatten() {
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            if file.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = fs::remove_file(file.path()); // the next start tries again
            }
        }
    }
}
