//! The schema classes that are served: a file each, parsed once. To add one, add its file and its
//! line.

use std::sync::LazyLock;

use serde_json::Value;

use crate::validate::Schema;

/// The files: property order in them is the order of checks, messages and defaults.
const FILES: &[(&str, &str)] = &[
    ("asr-whisper", include_str!("schemas/asr-whisper.json")),
    ("emb-bge", include_str!("schemas/emb-bge.json")),
    ("emb-bge-m3", include_str!("schemas/emb-bge-m3.json")),
    ("tg-g2", include_str!("schemas/tg-g2.json")),
    ("tg-g2-async", include_str!("schemas/tg-g2-async.json")),
];

/// What the inputs of a class look like.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) input: Schema,
    /// A body of raw bytes can be the whole input.
    pub(crate) takes_bytes: bool,
}

static CLASSES: LazyLock<Vec<(&str, Class)>> = LazyLock::new(|| {
    let read = |&(name, text): &(&'static str, &str)| {
        let file: Value = match serde_json::from_str(text) {
            Ok(file) => file,
            Err(error) => panic!("the built-in schema file of {name} is no JSON: {error}"),
        };
        let class = Class {
            input: Schema::read(&file["input"]),
            takes_bytes: Schema::takes_bytes(&file["input"]),
        };
        (name, class)
    };
    FILES.iter().map(read).collect()
});

/// The class of a name.
pub(crate) fn of(name: &str) -> Option<&'static Class> {
    let found = CLASSES.iter().find(|(known, _)| *known == name)?;
    Some(&found.1)
}

/// The schemas of a class as they are published: input and output.
pub(crate) fn documents(name: &str) -> Option<(Value, Value)> {
    let (_, text) = FILES.iter().find(|(known, _)| *known == name)?;
    let mut file: Value = serde_json::from_str(text).ok()?;
    Some((file["input"].take(), file["output"].take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_schema_with_branches() {
        for (name, _) in FILES {
            let mut input = serde_json::json!({});
            let class = of(name).unwrap();
            assert!(
                crate::validate::validate(&class.input, &mut input).is_err(),
                "{name}"
            );
        }
        assert!(of("asr-whisper").unwrap().takes_bytes);
        assert!(!of("tg-g2").unwrap().takes_bytes);
    }
}
