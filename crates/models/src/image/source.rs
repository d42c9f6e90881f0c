//! A place within a checkpoint, from which layers read their tensors by the checkpoint's own names.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Display;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::published;
use crate::checkpoint::Checkpoint;
use crate::load::{Files, LoadError};
use crate::mapped::Lent;
use crate::quality::Quality;

/// The largest size that a configuration may name: channels, positions, words.
pub(super) const SIZE_MAX: usize = 1 << 20;
/// The most layers, heads, groups or blocks that a configuration may name.
pub(super) const COUNT_MAX: usize = 1 << 10;

/// Where and how weights are kept.
#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) device: Device,
    /// The type that is computed in.
    pub(super) dtype: DType,
    /// How exactly the floats of linear layers are kept.
    pub(super) quality: Quality,
}

/// A prefix of tensor names.
#[derive(Clone)]
pub(super) struct Source<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) home: &'a Home,
    prefix: String,
    /// What a file calls the tensors that diffusers calls so.
    rename: Rc<dyn Fn(&str) -> String>,
    /// The file's names of the tensors that were read.
    read: Rc<RefCell<HashSet<String>>>,
}

impl<'a> Source<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, home: &'a Home) -> Self {
        Self {
            checkpoint,
            home,
            prefix: String::new(),
            rename: Rc::new(str::to_owned),
            read: Rc::default(),
        }
    }

    /// The same under other names.
    pub(super) fn renamed(mut self, rename: impl Fn(&str) -> String + 'static) -> Self {
        self.rename = Rc::new(rename);
        self
    }

    /// The place below this one.
    pub(super) fn at(&self, name: impl Display) -> Self {
        let mut below = self.clone();
        below.prefix = self.full(name);
        below
    }

    fn full(&self, name: impl Display) -> String {
        if self.prefix.is_empty() {
            name.to_string()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }

    /// The name of a tensor in the file.
    pub(super) fn name(&self, leaf: impl Display) -> String {
        (self.rename)(&self.full(leaf))
    }

    pub(super) fn has(&self, leaf: &str) -> bool {
        self.checkpoint.has(&self.name(leaf))
    }

    /// A tensor of an exact shape, in the type that is computed in.
    pub(super) fn tensor(&self, leaf: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let Home { device, dtype, .. } = self.home;
        let name = self.name(leaf);
        let tensor = self.checkpoint.tensor(&name, shape, *dtype, device)?;
        self.read.borrow_mut().insert(name);
        Ok(tensor)
    }

    /// The bytes of a tensor of an exact shape, and their type.
    pub(super) fn bytes(
        &self,
        leaf: &str,
        shape: &[usize],
    ) -> Result<(DType, Lent<'a>), LoadError> {
        let name = self.name(leaf);
        let bytes = self.checkpoint.bytes(&name, shape)?;
        self.read.borrow_mut().insert(name);
        Ok(bytes)
    }

    /// Refuses a file with tensors that no layer has read: it is of a model that is not built here. Some are
    /// known to change nothing: names that end or begin so.
    pub(super) fn finish(&self, idle: &[&str]) -> Result<(), LoadError> {
        let read = self.read.borrow();
        let is_idle = |name: &str| {
            let mut known = idle.iter();
            known.any(|part| name.starts_with(part) || name.ends_with(part))
        };
        let mut unread: Vec<&str> = self
            .checkpoint
            .names()
            .filter(|name| !read.contains(*name) && !is_idle(name))
            .collect();
        unread.sort_unstable();
        match unread.first() {
            Some(first) => {
                let detail = format!(
                    "{} of its tensors are of no layer that is built here, {first:?} the first of them",
                    unread.len()
                );
                Err(LoadError::unsupported(self.checkpoint.file(), detail))
            }
            None => Ok(()),
        }
    }

    /// The shape of a tensor, if it is there.
    pub(super) fn shape(&self, leaf: &str) -> Option<&'a [usize]> {
        self.checkpoint.shape(&self.name(leaf))
    }
}

/// The part of a pipeline that has a folder of its own.
pub(super) fn part(files: &Files, folder: &str) -> Files {
    Files::new(files.path(folder))
}

/// Opens `<folder>/<stem>.safetensors`, or its variants, or this part of the authors' single file.
pub(super) fn open(files: &Files, folder: &str, stem: &str) -> Result<Checkpoint, LoadError> {
    match Checkpoint::open_stem(&part(files, folder), stem) {
        Err(LoadError::Missing { file }) => {
            published::part(files, folder).unwrap_or(Err(LoadError::Missing { file }))
        }
        opened => opened,
    }
}

/// Refuses a configuration whose numbers are zero, or beyond what any model has.
pub(super) fn bounded(
    files: &Files,
    file: &str,
    numbers: &[(&str, usize, usize)],
) -> Result<(), LoadError> {
    for &(name, number, most) in numbers {
        if number == 0 || number > most {
            let detail = format!("{name} is {number}; 1 to {most} is possible");
            return Err(LoadError::corrupt(&files.path(file), detail));
        }
    }
    Ok(())
}

/// A number for all blocks, or one for each.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Each {
    All(usize),
    Listed(Vec<usize>),
}

impl Each {
    /// The numbers of so many blocks; `None` when a list has another length.
    pub(super) fn of(&self, blocks: usize) -> Option<Vec<usize>> {
        match self {
            Self::All(number) => Some(vec![*number; blocks]),
            Self::Listed(numbers) => (numbers.len() == blocks).then(|| numbers.clone()),
        }
    }
}

/// A tensor operation that failed at a step of painting.
pub(super) fn broken(error: impl Display) -> tasks::Failure {
    tasks::Failure::Internal(format!("painting: {error}"))
}

/// As [`broken`], at a load.
pub(super) fn unloaded(error: &candle_core::Error) -> LoadError {
    LoadError::device(error)
}
