//! A reader of server-sent events as strict as the contract: `data:` lines and blank lines only.

use serde_json::Value;

/// The JSON of each frame of a whole event stream; the last frame has to be `[DONE]`.
pub fn frames(stream: &str) -> Vec<Value> {
    let body = stream
        .strip_suffix("data: [DONE]\n\n")
        .expect("the stream ends with [DONE]");
    body.split_terminator("\n\n")
        .map(|frame| {
            let json = frame
                .strip_prefix("data: ")
                .expect("a frame starts with `data: `");
            assert!(!json.contains('\n'), "a frame is one line");
            serde_json::from_str(json).expect("a frame is JSON")
        })
        .collect()
}
