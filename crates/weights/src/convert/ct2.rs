//! The reader of a CTranslate2 `model.bin`: named variables as views into the file.
//!
//! Layout, all numbers little-endian: u32 version, string specification, u32 revision, u32 count of variables;
//! for each a string name, u8 rank, rank u32 dimensions, u8 type, u32 bytes, the data; then u32 count of aliases,
//! each two strings. A string is a u16 length, which counts a closing zero, and the bytes. See `serialize` in
//! CTranslate2's `model_spec.py`.

use std::collections::BTreeMap;

use super::ConvertError;

/// Versions of the layout that read as described.
const VERSIONS: std::ops::RangeInclusive<u32> = 4..=6;
/// No variable of a Whisper model has more dimensions.
const RANK_MAX: u8 = 8;

/// The type of a variable's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    I8,
    I16,
    I32,
    F16,
    BF16,
}

impl Element {
    fn read(code: u8) -> Option<Self> {
        [
            Self::F32,
            Self::I8,
            Self::I16,
            Self::I32,
            Self::F16,
            Self::BF16,
        ]
        .get(usize::from(code))
        .copied()
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::I8 => 1,
            Self::I16 | Self::F16 | Self::BF16 => 2,
            Self::F32 | Self::I32 => 4,
        }
    }
}

/// One variable; `data` is exactly as long as shape and type say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable<'a> {
    pub(crate) shape: Vec<usize>,
    pub(crate) element: Element,
    pub(crate) data: &'a [u8],
}

/// A whole file.
#[derive(Debug)]
pub(crate) struct Ct2<'a> {
    pub(crate) specification: &'a str,
    pub(crate) variables: BTreeMap<&'a str, Variable<'a>>,
}

impl<'a> Ct2<'a> {
    /// Reads a whole file. Nothing is allocated beyond what the bytes at hand describe.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, ConvertError> {
        let mut cursor = Cursor { bytes, at: 0 };
        let version = cursor.u32("the version")?;
        if !VERSIONS.contains(&version) {
            return Err(format_error(
                0,
                format!("version {version} of the layout is not known (known: 4 to 6)"),
            ));
        }
        let specification = cursor.string("the specification's name")?;
        cursor.u32("the revision")?;
        let count = cursor.u32("the count of variables")?;
        let mut variables = BTreeMap::new();
        for _ in 0..count {
            let at = cursor.at;
            let name = cursor.string("a variable's name")?;
            let variable = cursor.variable(name)?;
            if variables.insert(name, variable).is_some() {
                return Err(format_error(at, format!("variable {name} is there twice")));
            }
        }
        // Aliases name variables again (the tied projection); the target layout ties by its configuration.
        let aliases = cursor.u32("the count of aliases")?;
        for _ in 0..aliases {
            cursor.string("an alias")?;
            let at = cursor.at;
            let name = cursor.string("an alias's variable")?;
            if !variables.contains_key(name) {
                return Err(format_error(
                    at,
                    format!("an alias of {name}, which is not there"),
                ));
            }
        }
        if cursor.at != bytes.len() {
            return Err(format_error(
                cursor.at,
                format!("{} bytes left over", bytes.len() - cursor.at),
            ));
        }
        Ok(Self {
            specification,
            variables,
        })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], ConvertError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or(ConvertError::Truncated {
            what,
            at: self.at,
            length: self.bytes.len(),
        })?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ConvertError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, ConvertError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, ConvertError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn string(&mut self, what: &'static str) -> Result<&'a str, ConvertError> {
        let at = self.at;
        let length = u16::from_le_bytes(self.array(what)?);
        let bytes = self.take(usize::from(length), what)?;
        let [text @ .., 0] = bytes else {
            return Err(format_error(at, format!("{what} has no closing zero")));
        };
        std::str::from_utf8(text)
            .map_err(|error| format_error(at, format!("{what} is not UTF-8: {error}")))
    }

    fn variable(&mut self, name: &str) -> Result<Variable<'a>, ConvertError> {
        let at = self.at;
        let rank = self.u8("a variable's rank")?;
        if rank > RANK_MAX {
            return Err(format_error(at, format!("{name} has {rank} dimensions")));
        }
        let mut shape = Vec::with_capacity(usize::from(rank));
        for _ in 0..rank {
            shape.push(self.u32("a variable's shape")? as usize);
        }
        let code = self.u8("a variable's type")?;
        let element = Element::read(code)
            .ok_or_else(|| format_error(self.at - 1, format!("{name} has the type {code}")))?;
        let bytes = self.u32("a variable's size")? as usize;
        let described = shape
            .iter()
            .try_fold(element.bytes(), |product, &dimension| {
                product.checked_mul(dimension)
            });
        if described != Some(bytes) {
            return Err(format_error(
                at,
                format!("{name} has {bytes} bytes, which its shape {shape:?} contradicts"),
            ));
        }
        let data = self.take(bytes, "a variable's data")?;
        Ok(Variable {
            shape,
            element,
            data,
        })
    }
}

fn format_error(at: usize, what: String) -> ConvertError {
    ConvertError::Format { what, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Vec<u8> {
        let mut bytes = (text.len() as u16 + 1).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes
    }

    /// One variable of two F16 numbers, and an alias of it.
    fn file() -> Vec<u8> {
        [
            6u32.to_le_bytes().as_slice(),
            &string("WhisperSpec"),
            &3u32.to_le_bytes(),
            &1u32.to_le_bytes(),
            &string("a/weight"),
            &[2],
            &1u32.to_le_bytes(),
            &2u32.to_le_bytes(),
            &[4],
            &4u32.to_le_bytes(),
            &[1, 2, 3, 4],
            &1u32.to_le_bytes(),
            &string("b/weight"),
            &string("a/weight"),
        ]
        .concat()
    }

    #[test]
    fn a_whole_file_is_read() {
        let bytes = file();
        let read = Ct2::read(&bytes).unwrap();
        assert_eq!(read.specification, "WhisperSpec");
        let expected = Variable {
            shape: vec![1, 2],
            element: Element::F16,
            data: &[1, 2, 3, 4],
        };
        assert_eq!(read.variables.get("a/weight"), Some(&expected));
    }

    #[test]
    fn every_cut_is_a_typed_error() {
        let bytes = file();
        for length in 0..bytes.len() {
            let error = Ct2::read(&bytes[..length]).unwrap_err();
            assert!(
                matches!(error, ConvertError::Truncated { .. }),
                "{length}: {error}"
            );
        }
    }

    #[test]
    fn no_changed_byte_panics_or_asks_for_memory() {
        let bytes = file();
        for at in 0..bytes.len() {
            for value in [0, 1, 7, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = Ct2::read(&changed);
            }
        }
    }

    #[test]
    fn a_shape_whose_product_wraps_is_refused() {
        let mut bytes = file();
        let shape = 4 + 14 + 8 + 11 + 1;
        // (2^32 - 1)^2 elements of two bytes: beyond 64 bits.
        bytes[shape..shape + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        bytes[shape + 4..shape + 8].copy_from_slice(&u32::MAX.to_le_bytes());
        let error = Ct2::read(&bytes).unwrap_err();
        assert!(matches!(error, ConvertError::Format { .. }), "{error}");
    }

    #[test]
    fn a_longer_file_is_refused() {
        let mut bytes = file();
        bytes.push(0);
        let error = Ct2::read(&bytes).unwrap_err();
        assert!(matches!(error, ConvertError::Format { .. }), "{error}");
    }
}
