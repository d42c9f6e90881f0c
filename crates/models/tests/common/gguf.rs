//! Writes GGUF files, sound and unsound, after ggml's docs/gguf.md.

/// A file in the making.
#[derive(Default)]
pub(crate) struct GgufFile {
    entries: Vec<u8>,
    entry_count: u64,
    infos: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

pub(crate) fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl GgufFile {
    pub(crate) fn entry(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        text(&mut self.entries, key);
        self.entries.extend(kind.to_le_bytes());
        self.entries.extend(value);
        self.entry_count += 1;
        self
    }

    pub(crate) fn integer(&mut self, key: &str, value: u32) -> &mut Self {
        self.entry(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) -> &mut Self {
        self.entry(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn boolean(&mut self, key: &str, value: bool) -> &mut Self {
        self.entry(key, 7, &[u8::from(value)])
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        let mut bytes = Vec::new();
        text(&mut bytes, value);
        self.entry(key, 8, &bytes)
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[String]) -> &mut Self {
        let mut bytes = Vec::new();
        for value in values {
            text(&mut bytes, value);
        }
        self.array(key, 8, values.len(), &bytes)
    }

    pub(crate) fn integers(&mut self, key: &str, values: &[i32]) -> &mut Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 5, values.len(), &bytes)
    }

    pub(crate) fn floats(&mut self, key: &str, values: &[f32]) -> &mut Self {
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        self.array(key, 6, values.len(), &bytes)
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, elements: &[u8]) -> &mut Self {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((count as u64).to_le_bytes());
        bytes.extend(elements);
        self.entry(key, 9, &bytes)
    }

    /// A float32 tensor; the outermost dimension first.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], numbers: &[f32]) -> &mut Self {
        assert_eq!(shape.iter().product::<usize>(), numbers.len());
        let offset = self.data.len();
        self.data
            .extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.info(name, shape, 0, offset as u64)
    }

    /// A tensor of any type in its bytes; the outermost dimension first.
    pub(crate) fn raw(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: u32,
        bytes: &[u8],
    ) -> &mut Self {
        let offset = self.data.len();
        self.data.extend(bytes);
        self.info(name, shape, kind, offset as u64)
    }

    /// What the file says of a tensor, true or not.
    pub(crate) fn info(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: u32,
        offset: u64,
    ) -> &mut Self {
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        text(&mut self.infos, name);
        self.infos.extend((shape.len() as u32).to_le_bytes());
        for &size in shape.iter().rev() {
            self.infos.extend((size as u64).to_le_bytes());
        }
        self.infos.extend(kind.to_le_bytes());
        self.infos.extend(offset.to_le_bytes());
        self.tensor_count += 1;
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3u32.to_le_bytes());
        bytes.extend(self.tensor_count.to_le_bytes());
        bytes.extend(self.entry_count.to_le_bytes());
        bytes.extend(&self.entries);
        bytes.extend(&self.infos);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}
