//! The pickle of a dictionary of tensors (Python's `pickletools` describes the words).
//!
//! Values are kept once and pointed to, so that what a file takes in memory is bounded by its length,
//! however often it repeats itself. What is called in Python is looked at here: two calls and the storages
//! make tensors, all others make nothing.

use std::rc::Rc;

/// A tensor as it is described.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) name: Rc<str>,
    /// The name of its storage's class.
    pub(super) storage: Rc<str>,
    /// The record of its storage.
    pub(super) key: Rc<str>,
    /// Numbers of the storage before its first.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Described {
    /// Whether its rows follow each other in its storage.
    pub(super) fn is_row_major(&self) -> bool {
        let mut step = 1usize;
        self.shape.len() == self.strides.len()
            && self
                .shape
                .iter()
                .zip(&self.strides)
                .rev()
                .all(|(&size, &stride)| {
                    let fits = size <= 1 || stride == step;
                    step = step.saturating_mul(size);
                    fits
                })
    }
}

/// The most dimensions of a tensor.
const RANK_MAX: usize = 8;

/// The most values of a file; a tensor takes about fifteen.
const VALUES_MAX: usize = 1 << 20;

/// A value, by its place.
type Place = usize;

#[derive(Debug)]
enum Value {
    /// What describes no tensor.
    Nothing,
    Number(i64),
    Text(Rc<str>),
    /// A class or function, by its last word.
    Global(Rc<str>),
    Tuple(Vec<Place>),
    Dictionary(Vec<(Place, Place)>),
    Storage {
        class: Rc<str>,
        key: Rc<str>,
    },
    Tensor {
        storage: Place,
        offset: Place,
        shape: Place,
        strides: Place,
    },
}

/// The tensors of the dictionary that a pickle describes, by name.
pub(super) fn tensors(pickle: &[u8]) -> Result<Vec<Described>, String> {
    let mut reader = Reader {
        rest: pickle,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        kept: std::collections::HashMap::new(),
    };
    let length = pickle.len();
    let top = reader.read().map_err(|what| {
        let at = length - reader.rest.len();
        format!("its pickle at byte {at}: {what}")
    })?;
    let described = reader.described(top);
    let mut names = std::collections::HashSet::new();
    match described.iter().find(|tensor| !names.insert(&tensor.name)) {
        Some(twice) => Err(format!("its pickle names {:?} twice", twice.name)),
        None => Ok(described),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    values: Vec<Value>,
    stack: Vec<Place>,
    /// Heights of the stack.
    marks: Vec<usize>,
    kept: std::collections::HashMap<u32, Place>,
}

const SHORT: &str = "it ends too soon";
const EMPTY: &str = "it takes what is not there";

impl Reader<'_> {
    /// Reads to the end; the place of the value that it stands for.
    fn read(&mut self) -> Result<Place, String> {
        loop {
            if self.values.len().max(self.stack.len()) > VALUES_MAX {
                return Err(format!("more than {VALUES_MAX} values"));
            }
            let word = self.take::<1>()?[0];
            match word {
                0x80 => drop(self.take::<1>()?), // the protocol
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                // Put away, put into a list, or built into a value: it describes no tensor.
                b'0' | b'a' | b'b' => drop(self.pop()?),
                b'N' | 0x88 | 0x89 | b']' => self.push(Value::Nothing),
                b'}' => self.push(Value::Dictionary(Vec::new())),
                b')' => self.push(Value::Tuple(Vec::new())),
                b'K' => {
                    let [byte] = self.take::<1>()?;
                    self.push(Value::Number(byte.into()));
                }
                b'M' => {
                    let number = u16::from_le_bytes(self.take()?);
                    self.push(Value::Number(number.into()));
                }
                b'J' => {
                    let number = i32::from_le_bytes(self.take()?);
                    self.push(Value::Number(number.into()));
                }
                0x8a => self.long()?,
                b'G' => {
                    self.take::<8>()?;
                    self.push(Value::Nothing);
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.take()?);
                    self.text(length as usize)?;
                }
                0x8c => {
                    let [length] = self.take::<1>()?;
                    self.text(length.into())?;
                }
                b'c' => {
                    self.line()?;
                    let word = self.line()?;
                    self.push(Value::Global(word.into()));
                }
                b'q' => {
                    let [number] = self.take::<1>()?;
                    self.keep(number.into())?;
                }
                b'r' => {
                    let number = u32::from_le_bytes(self.take()?);
                    self.keep(number)?;
                }
                b'h' => {
                    let [number] = self.take::<1>()?;
                    self.get(number.into())?;
                }
                b'j' => {
                    let number = u32::from_le_bytes(self.take()?);
                    self.get(number)?;
                }
                0x85..=0x87 => {
                    let parts = self.top(usize::from(word) - 0x84)?;
                    self.push(Value::Tuple(parts));
                }
                b't' => {
                    let parts = self.since_mark()?;
                    self.push(Value::Tuple(parts));
                }
                b'e' => drop(self.since_mark()?),
                b's' => {
                    let pair = self.top(2)?;
                    self.set(&pair)?;
                }
                b'u' => {
                    let pairs = self.since_mark()?;
                    self.set(&pairs)?;
                }
                b'Q' => {
                    let told = self.pop()?;
                    let storage = self.storage(told);
                    self.push(storage);
                }
                b'R' | 0x81 => {
                    let called = self.top(2)?;
                    let made = self.made(called[0], called[1]);
                    self.push(made);
                }
                other => return Err(format!("the word {other:#04x} is not known here")),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let (text, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        self.push(Value::Text(String::from_utf8_lossy(text).into()));
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let (line, rest) = self.rest.split_at(end.ok_or(SHORT)?);
        self.rest = &rest[1..];
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    /// A number of any length; one that is longer than eight bytes is nothing.
    fn long(&mut self) -> Result<(), String> {
        let length = usize::from(self.take::<1>()?[0]);
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(SHORT)?;
        self.rest = rest;
        let sign = if bytes.last().is_some_and(|last| *last >= 0x80) {
            0xFF
        } else {
            0
        };
        let mut whole = [sign; 8];
        let value = match whole.get_mut(..length) {
            Some(place) => {
                place.copy_from_slice(bytes);
                Value::Number(i64::from_le_bytes(whole))
            }
            None => Value::Nothing,
        };
        self.push(value);
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Place, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(EMPTY.into());
        }
        self.stack.pop().ok_or_else(|| EMPTY.into())
    }

    /// The last so many values.
    fn top(&mut self, count: usize) -> Result<Vec<Place>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let from = self.stack.len().checked_sub(count);
        let from = from.filter(|from| *from >= floor).ok_or(EMPTY)?;
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Place>, String> {
        let mark = self.marks.pop().ok_or(EMPTY)?;
        if mark > self.stack.len() {
            return Err(EMPTY.into());
        }
        Ok(self.stack.split_off(mark))
    }

    fn keep(&mut self, number: u32) -> Result<(), String> {
        let last = *self.stack.last().ok_or(EMPTY)?;
        self.kept.insert(number, last);
        Ok(())
    }

    fn get(&mut self, number: u32) -> Result<(), String> {
        let kept = *self.kept.get(&number).ok_or(EMPTY)?;
        self.stack.push(kept);
        Ok(())
    }

    /// Puts keys and values, one after the other, into the dictionary on the stack.
    fn set(&mut self, pairs: &[Place]) -> Result<(), String> {
        let place = *self.stack.last().ok_or(EMPTY)?;
        if let Some(Value::Dictionary(dictionary)) = self.values.get_mut(place) {
            let (pairs, _) = pairs.as_chunks::<2>();
            dictionary.extend(pairs.iter().map(|[key, value]| (*key, *value)));
        }
        Ok(())
    }

    /// `('storage', class, key, device, numbers)`.
    fn storage(&self, told: Place) -> Value {
        let Value::Tuple(parts) = &self.values[told] else {
            return Value::Nothing;
        };
        let part = |index: usize| parts.get(index).map(|&place| &self.values[place]);
        match (part(1), part(2)) {
            (Some(Value::Global(class)), Some(Value::Text(key))) => Value::Storage {
                class: class.clone(),
                key: key.clone(),
            },
            _ => Value::Nothing,
        }
    }

    /// What a call makes.
    fn made(&self, called: Place, arguments: Place) -> Value {
        let (Value::Global(word), Value::Tuple(parts)) =
            (&self.values[called], &self.values[arguments])
        else {
            return Value::Nothing;
        };
        match (&**word, parts[..].first_chunk::<4>()) {
            ("_rebuild_tensor_v2", Some(&[storage, offset, shape, strides])) => Value::Tensor {
                storage,
                offset,
                shape,
                strides,
            },
            ("OrderedDict", _) => Value::Dictionary(Vec::new()),
            _ => Value::Nothing,
        }
    }

    fn described(&self, top: Place) -> Vec<Described> {
        let Value::Dictionary(pairs) = &self.values[top] else {
            return Vec::new();
        };
        let pairs = pairs.iter();
        pairs
            .filter_map(|&(key, value)| self.tensor(key, value))
            .collect()
    }

    fn tensor(&self, name: Place, value: Place) -> Option<Described> {
        let (
            Value::Text(name),
            &Value::Tensor {
                storage,
                offset,
                shape,
                strides,
            },
        ) = (&self.values[name], &self.values[value])
        else {
            return None;
        };
        let (Value::Storage { class, key }, Value::Number(offset)) =
            (&self.values[storage], &self.values[offset])
        else {
            return None;
        };
        Some(Described {
            name: name.clone(),
            storage: class.clone(),
            key: key.clone(),
            offset: usize::try_from(*offset).ok()?,
            shape: self.sizes(shape)?,
            strides: self.sizes(strides)?,
        })
    }

    fn sizes(&self, place: Place) -> Option<Vec<usize>> {
        let Value::Tuple(parts) = &self.values[place] else {
            return None;
        };
        if parts.len() > RANK_MAX {
            return None;
        }
        let size = |&place: &Place| match &self.values[place] {
            Value::Number(number) => usize::try_from(*number).ok(),
            _ => None,
        };
        parts.iter().map(size).collect()
    }
}
