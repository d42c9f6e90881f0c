//! Which input of a class may come as a body of raw bytes, and what the validator takes it for.

use serde_json::{Value, json};

/// The one binary input of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The input's name; a body of raw bytes does not carry it.
    pub(super) name: &'static str,
    shape: Shape,
    /// Raw bytes are documented for the REST surface, too; a Worker may give a stream to all of them.
    on_rest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// The schema wants a list of byte numbers.
    Numbers,
    /// The schema wants `{body, contentType}`.
    Part,
    /// As `Part`, and the body is a form.
    Form,
}

impl Slot {
    /// The slot of a schema class; `None` where every input is JSON.
    pub(crate) fn of(class: &str) -> Option<Self> {
        let (name, shape, on_rest) = match class {
            "asr-whisper" => ("audio", Shape::Numbers, true),
            "asr-whisper-turbo" => ("audio", Shape::Part, false),
            "asr-nova-3" | "asr-nemotron-speech" | "vad-smart-turn" => ("audio", Shape::Part, true),
            "image-classification" | "object-detection" | "image-to-text" => {
                ("image", Shape::Numbers, true)
            }
            "t2i-sd" => ("image", Shape::Numbers, false),
            "t2i-flux-2" => ("multipart", Shape::Form, true),
            _ => return None,
        };
        Some(Self {
            name,
            shape,
            on_rest,
        })
    }

    /// Whether the REST surface takes `body` as the raw bytes of this input, and not as JSON.
    /// Documented samples send audio as a form of curl's, so that beside the kinds of content that
    /// are never JSON the first byte decides.
    pub(super) fn is_raw(self, body: &[u8], content_type: &str) -> bool {
        let kind = content_type.trim_start().to_ascii_lowercase();
        if self.shape == Shape::Form {
            return kind.starts_with("multipart/") || body.starts_with(b"--");
        }
        let is_never_json = ["audio/", "image/", "video/", "application/octet-stream"]
            .iter()
            .any(|never| kind.starts_with(never));
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        self.on_rest
            && !body.is_empty()
            && (is_never_json || !matches!(first, None | Some(b'{' | b'[')))
    }

    /// Whether the other inputs may stand in the query of the REST surface.
    pub(super) fn has_flags(self) -> bool {
        self.shape == Shape::Part
    }

    /// What stands for the bytes while the other inputs are validated.
    pub(super) fn stand_in(self, content_type: &str) -> Value {
        match self.shape {
            Shape::Numbers => json!([]),
            Shape::Part | Shape::Form => json!({"body": {}, "contentType": content_type}),
        }
    }
}
