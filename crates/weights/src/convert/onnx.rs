//! The reader of an ONNX model: its named tensors of floats as views into the file.
//!
//! Protocol Buffers (protobuf.dev, "Encoding") with the fields of onnx.proto: a model's field 7 is its graph, a
//! graph's 5 each an initializer, a tensor's 1 its dimensions, 2 its type, 8 its name, 9 its bytes in little-endian.

use std::collections::BTreeMap;

use super::ConvertError;

const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_DIMENSIONS: u64 = 1;
const TENSOR_TYPE: u64 = 2;
const TENSOR_NAME: u64 = 8;
const TENSOR_BYTES: u64 = 9;
/// `TensorProto.DataType.FLOAT`.
const FLOAT: u64 = 1;
/// The most tensors that are read, and the most dimensions of one.
const TENSORS_MAX: usize = 4_096;
const RANK_MAX: usize = 8;

/// A tensor of float32; `data` is exactly as long as its shape says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Floats<'a> {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: &'a [u8],
}

/// The initializers of a model's graph that are float32, by name.
pub(crate) fn floats(model: &[u8]) -> Result<BTreeMap<&str, Floats<'_>>, ConvertError> {
    let mut found = BTreeMap::new();
    let mut fields = Fields::of(model, 0);
    while let Some((MODEL_GRAPH, value)) = fields.next_of(MODEL_GRAPH)? {
        let (graph, at) = fields.message(&value)?;
        let mut fields = Fields::of(graph, at);
        while let Some((_, value)) = fields.next_of(GRAPH_INITIALIZER)? {
            let (bytes, at) = fields.message(&value)?;
            if let Some((name, tensor)) = tensor(bytes, at)? {
                let is_new = found.insert(name, tensor).is_none();
                if !is_new || found.len() > TENSORS_MAX {
                    return Err(wrong(at, format!("{name} is one tensor too many")));
                }
            }
        }
    }
    Ok(found)
}

/// A tensor and its name; `None` for one of another type.
fn tensor(bytes: &[u8], at: usize) -> Result<Option<(&str, Floats<'_>)>, ConvertError> {
    let (mut shape, mut kind, mut name, mut data) = (Vec::new(), None, "", None);
    let mut fields = Fields::of(bytes, at);
    while let Some((field, value)) = fields.next()? {
        match (field, value) {
            (TENSOR_DIMENSIONS, Value::Number(size)) => shape.push(size),
            (TENSOR_DIMENSIONS, Value::Bytes { bytes, at }) => {
                let mut packed = Fields::of(bytes, at);
                while packed.at < bytes.len() {
                    shape.push(packed.number()?);
                }
            }
            (TENSOR_TYPE, Value::Number(code)) => kind = Some(code),
            (TENSOR_NAME, Value::Bytes { bytes, at }) => {
                name = std::str::from_utf8(bytes).map_err(|_| wrong(at, "a name is no text"))?;
            }
            (TENSOR_BYTES, Value::Bytes { bytes, .. }) => data = Some(bytes),
            _ => {}
        }
        if shape.len() > RANK_MAX {
            return Err(wrong(at, "a tensor has too many dimensions"));
        }
    }
    let (Some(FLOAT), Some(data)) = (kind, data) else {
        return Ok(None);
    };
    let shape: Option<Vec<usize>> = shape.into_iter().map(|size| size.try_into().ok()).collect();
    let bytes = shape
        .iter()
        .flatten()
        .try_fold(size_of::<f32>(), |all, size| all.checked_mul(*size));
    match shape {
        Some(shape) if bytes == Some(data.len()) => Ok(Some((name, Floats { shape, data }))),
        _ => Err(wrong(
            at,
            format!("{name} is not as long as its shape says"),
        )),
    }
}

/// A field's value.
enum Value<'a> {
    Number(u64),
    /// Bytes, and where in the file they begin.
    Bytes {
        bytes: &'a [u8],
        at: usize,
    },
    /// A number of fixed length, which no field that is read has.
    Other,
}

/// The fields of a message one after the other.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where in the file the message begins.
    offset: usize,
}

impl<'a> Fields<'a> {
    fn of(bytes: &'a [u8], offset: usize) -> Self {
        Self {
            bytes,
            at: 0,
            offset,
        }
    }

    /// The next field of this number.
    fn next_of(&mut self, wanted: u64) -> Result<Option<(u64, Value<'a>)>, ConvertError> {
        while let Some((field, value)) = self.next()? {
            if field == wanted {
                return Ok(Some((field, value)));
            }
        }
        Ok(None)
    }

    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, ConvertError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.skip(8)?,
            2 => {
                let length = self.number()?;
                let at = self.offset + self.at;
                let bytes = self.take(length)?;
                Value::Bytes { bytes, at }
            }
            5 => self.skip(4)?,
            other => return Err(self.wrong(format!("there is no wire type {other}"))),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn message(&self, value: &Value<'a>) -> Result<(&'a [u8], usize), ConvertError> {
        match value {
            Value::Bytes { bytes, at } => Ok((bytes, *at)),
            _ => Err(self.wrong("a number where a message belongs")),
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ConvertError> {
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length));
        let bytes = end.and_then(|end| self.bytes.get(self.at..end));
        let bytes = bytes.ok_or_else(|| self.wrong("a field goes on behind its message"))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    fn skip(&mut self, length: u64) -> Result<Value<'a>, ConvertError> {
        self.take(length).map(|_| Value::Other)
    }

    /// A number in groups of seven bits, the lowest first.
    fn number(&mut self) -> Result<u64, ConvertError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take(1)? else { break };
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.wrong("a number has too many bytes"))
    }

    fn wrong(&self, what: impl Into<String>) -> ConvertError {
        wrong(self.offset + self.at, what)
    }
}

fn wrong(at: usize, what: impl Into<String>) -> ConvertError {
    ConvertError::Onnx {
        what: what.into(),
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::run;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length >= 0x80 {
            field.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend(bytes);
        field
    }

    fn tensor(name: &str, shape: &[u8], kind: u8, data: &[u8]) -> Vec<u8> {
        let mut tensor: Vec<u8> = shape.iter().flat_map(|size| [1 << 3, *size]).collect();
        tensor.extend([2 << 3, kind]);
        tensor.extend(field(8, name.as_bytes()));
        tensor.extend(field(9, data));
        tensor
    }

    /// A model whose graph has a name, then these initializers.
    fn model(tensors: &[Vec<u8>]) -> Vec<u8> {
        let mut graph = field(2, b"graph");
        for tensor in tensors {
            graph.extend(field(5, tensor));
        }
        // A version, and a number of fixed length that nobody knows.
        let mut model = vec![1 << 3, 8, 15 << 3 | 5, 1, 2, 3, 4];
        model.extend(field(7, &graph));
        model
    }

    #[test]
    fn floats_are_found_and_other_types_are_not() {
        let data: Vec<u8> = (0..240).collect();
        let mut packed = field(1, &[60]);
        packed.extend(&tensor("packed", &[], 1, &data));
        let made = model(&[
            tensor("a", &[3, 20], 1, &data),
            tensor("whole numbers", &[30], 7, &data),
            packed,
            tensor("scalar", &[], 1, &data[..4]),
        ]);
        let found = floats(&made).unwrap();
        let shapes: Vec<_> = found
            .iter()
            .map(|(name, floats)| (*name, floats.shape.clone()))
            .collect();
        assert_eq!(
            shapes,
            [("a", vec![3, 20]), ("packed", vec![60]), ("scalar", vec![])]
        );
        assert_eq!(found["a"].data, data);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let data = [0; 240];
        let long = model(&[tensor("a", &[3, 21], 1, &data)]);
        let twice = model(&[tensor("a", &[60], 1, &data), tensor("a", &[60], 1, &data)]);
        for made in [long, twice] {
            assert!(matches!(floats(&made), Err(ConvertError::Onnx { .. })));
        }
        let whole = model(&[tensor("a", &[60], 1, &data)]);
        for end in 8..whole.len() {
            assert!(floats(&whole[..end]).is_err(), "cut at {end}");
        }
        for at in 0..20 {
            for byte in [0, 0x7f, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                let _ = floats(&damaged); // no panic
            }
        }
        let inputs = [whole];
        let missing = run("onnx-silero-vad", &inputs);
        assert!(
            matches!(missing, Err(ConvertError::Missing(_))),
            "{missing:?}"
        );
    }
}
