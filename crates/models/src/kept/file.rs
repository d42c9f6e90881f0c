//! A file of packed weights.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use kernels::PackedLinear;

use super::form::{self, Row};
use super::{Identity, Matrix};
use crate::mapped::Mapped;

/// The packed matrices of one GGUF file. What is taken from it is read anew into memory.
pub(crate) struct KeptFile {
    map: Arc<Mapped>,
    rows: HashMap<String, Row>,
}

impl KeptFile {
    /// Opens and checks a file. `Err` says what does not fit; nothing, where there is no file.
    pub(super) fn open(path: &Path, source: Identity) -> Result<Self, Option<String>> {
        let file = File::open(path).map_err(|_| None)?;
        let unreadable = |error: std::io::Error| Some(error.to_string());
        if file.metadata().map_err(unreadable)?.len() == 0 {
            return Err(Some("it is empty".to_owned()));
        }
        let map = Mapped::open(&file).map_err(unreadable)?;
        let rows = form::rows(&map, source).map_err(|why| Some(why.to_owned()))?;
        Ok(Self {
            map: Arc::new(map),
            rows: rows.into_iter().collect(),
        })
    }

    /// A matrix, read into memory of its own; `None`: it is not there as it is wanted.
    pub(super) fn find(&self, matrix: &Matrix) -> Option<PackedLinear> {
        let row = self.rows.get(&matrix.key())?;
        let wanted = Row {
            packing: matrix.format.packing(),
            outputs: matrix.outputs,
            inputs: matrix.inputs,
            offset: row.offset,
        };
        if *row != wanted {
            return None;
        }
        let (map, range) = (self.map.clone(), row.range()?);
        let lent = PackedLinear::lent(row.packing, row.outputs, row.inputs, map, range.clone());
        let lent = lent.ok()?;
        // Behind it, the file's pages go back to the system.
        let _read = self.map.lend(range);
        Some(lent.owned())
    }
}
