//! The contract's worked examples for the schema classes that are served, to the letter.

use serde_json::Value;

use super::validate;
use crate::run::classes;

/// What becomes of an input.
enum Verdict {
    /// It passes, and is this with its defaults.
    Becomes(&'static str),
    /// It fails with this message.
    Fails(&'static str),
}
use Verdict::{Becomes, Fails};

#[rustfmt::skip] // a table
const EXAMPLES: &[(&str, &str, Verdict)] = &[
    ("tg-g2", "{}", Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', required properties at '/' are 'messages'")),
    ("tg-g2-async", "{}", Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', required properties at '/' are 'messages', required properties at '/' are 'requests'")),
    ("tg-g2", r#"{"prompt":"a","messages":[{"role":"user","content":"b"}]}"#, Fails("oneOf at '/' not met, 2 matches")),
    ("tg-g2", r#"{"prompt":""}"#, Fails("oneOf at '/' not met, 0 matches: Length of '/prompt' must be >= 1 not met, required properties at '/' are 'messages'")),
    ("tg-g2", r#"{"prompt":"a"}"#, Becomes(r#"{"prompt":"a","raw":false,"stream":false,"max_tokens":256,"temperature":0.6}"#)),
    ("tg-g2", r#"{"messages":[{"role":"user","content":"b"}]}"#, Becomes(r#"{"messages":[{"role":"user","content":"b"}],"raw":false,"stream":false,"max_tokens":256,"temperature":0.6}"#)),
    ("tg-g2", r#"{"prompt":"a","temperature":6}"#, Fails("oneOf at '/' not met, 0 matches: '/temperature' must be <= 5")),
    ("tg-g2", r#"{"prompt":"a","max_tokens":"256"}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/max_tokens', 'integer' not in 'string'")),
    ("tg-g2", r#"{"prompt":"a","max_tokens":null}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/max_tokens', 'integer' not in 'null'")),
    ("tg-g2", r#"{"messages":[{"role":"user","content":null}]}"#, Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', Type mismatch of '/messages/0/content', 'string' not in 'null'")),
    ("tg-g2", r#"{"messages":[{"role":"user"}]}"#, Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', required properties at '/messages/0' are 'role,content'")),
    ("tg-g2", r#"{"messages":"x"}"#, Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', Type mismatch of '/messages', 'array' not in 'string'")),
    ("tg-g2", r#"{"messages":{"a":1}}"#, Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', required properties at '/messages/a' are 'role,content'")),
    ("tg-g2", r#"{"prompt":5}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/prompt', 'string' not in 'number','integer', required properties at '/' are 'messages'")),
    ("tg-g2", r#"{"prompt":"a","response_format":{"type":"foo"}}"#, Fails("oneOf at '/' not met, 0 matches: enum foo not in json_object,json_schema at '/response_format/type'")),
    ("tg-g2", r#"{"prompt":"a","raw":"true"}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/raw', 'boolean' not in 'string'")),
    ("tg-g2", r#"{"prompt":"a","seed":0}"#, Fails("oneOf at '/' not met, 0 matches: '/seed' must be >= 1")),
    ("tg-g2", r#"{"messages":[{"role":"user","content":"b"}],"tools":[{"name":"a"}]}"#, Becomes(r#"{"messages":[{"role":"user","content":"b"}],"tools":[{"name":"a"}],"raw":false,"stream":false,"max_tokens":256,"temperature":0.6}"#)),
    ("tg-g2", r#"{"messages":[{"role":"user","content":"b"}],"tools":[{"type":"function","function":{"name":"a","description":"d","parameters":{"type":"object","properties":{"x":{"type":"string","description":"q"}},"required":["x"]}}}]}"#, Becomes(r#"{"messages":[{"role":"user","content":"b"}],"tools":[{"type":"function","function":{"name":"a","description":"d","parameters":{"type":"object","properties":{"x":{"type":"string","description":"q"}},"required":["x"]}}}],"raw":false,"stream":false,"max_tokens":256,"temperature":0.6}"#)),
    ("tg-g2", r#"{"messages":[{"role":"user","content":"b"}],"tools":[{"type":"function","function":{"name":"a","description":"d","parameters":{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}}}]}"#, Becomes(r#"{"messages":[{"role":"user","content":"b"}],"tools":[{"type":"function","function":{"name":"a","description":"d","parameters":{"type":"object","properties":{"x":{"type":"string"}},"required":["x"]}}}],"raw":false,"stream":false,"max_tokens":256,"temperature":0.6}"#)),
    ("tg-g2", r#"{"messages":[{"role":"assistant","content":"","tool_calls":[{"id":"1"}]},{"role":"tool","content":"{}","tool_call_id":"1"}]}"#, Becomes(r#"{"messages":[{"role":"assistant","content":"","tool_calls":[{"id":"1"}]},{"role":"tool","content":"{}","tool_call_id":"1"}],"raw":false,"stream":false,"max_tokens":256,"temperature":0.6}"#)),
    ("emb-bge", "{}", Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'text', required properties at '/' are 'requests'")),
    ("emb-bge", r#"{"text":"x"}"#, Becomes(r#"{"text":"x","pooling":"mean"}"#)),
    ("emb-bge", r#"{"text":3}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/text', 'string' not in 'number','integer', required properties at '/' are 'text', required properties at '/' are 'requests'")),
    ("emb-bge", r#"{"text":""}"#, Fails("oneOf at '/' not met, 0 matches: Length of '/text' must be >= 1 not met, Type mismatch of '/text', 'array' not in 'string', required properties at '/' are 'text', required properties at '/' are 'requests'")),
    ("emb-bge", r#"{"text":[""]}"#, Becomes(r#"{"text":[""],"pooling":"mean"}"#)),
    ("emb-bge", r#"{"text":["a"],"pooling":"max"}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/text', 'string' not in 'array','binary', enum max not in mean,cls at '/pooling', required properties at '/' are 'requests'")),
    ("emb-bge-m3", "{}", Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'contexts', required properties at '/' are 'text', required properties at '/' are 'requests'")),
    ("emb-bge-m3", r#"{"text":"x"}"#, Becomes(r#"{"text":"x","truncate_inputs":false}"#)),
    ("emb-bge-m3", r#"{"query":"a","contexts":[{"text":"b"}]}"#, Becomes(r#"{"query":"a","contexts":[{"text":"b"}],"truncate_inputs":false}"#)),
    ("emb-bge-m3", r#"{"query":"a"}"#, Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'contexts', required properties at '/' are 'text', required properties at '/' are 'requests'")),
    ("asr-whisper", "{}", Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'object', required properties at '/' are 'audio'")),
    ("asr-whisper", r#"{"audio":"abc"}"#, Fails("oneOf at '/' not met, 0 matches: Type mismatch of '/', 'string' not in 'object', Type mismatch of '/audio', 'array' not in 'string'")),
    ("asr-whisper", r#"{"audio":{"0":12,"1":13}}"#, Becomes(r#"{"audio":{"0":12,"1":13}}"#)),
    ("tg-g2-async", r#"{"requests":[{"prompt":"a"}]}"#, Becomes(r#"{"requests":[{"prompt":"a","stream":false,"max_tokens":256,"temperature":0.6}]}"#)),
    ("emb-bge", r#"{"requests":[{"text":"a"}]}"#, Becomes(r#"{"requests":[{"text":"a","pooling":"mean"}]}"#)),
    ("emb-bge", r#"{"requests":[{}]}"#, Fails("oneOf at '/' not met, 0 matches: required properties at '/' are 'text', required properties at '/requests/0' are 'text'")),
];

#[test]
fn worked_examples_give_the_services_texts() {
    for (class, input, verdict) in EXAMPLES {
        let mut value: Value = serde_json::from_str(input).unwrap();
        let result = validate(&classes::of(class).unwrap().input, &mut value);
        match verdict {
            Becomes(wanted) => {
                assert_eq!(result, Ok(()), "{class} {input}");
                assert_eq!(value.to_string(), *wanted, "{class} {input}");
            }
            Fails(wanted) => assert_eq!(result, Err((*wanted).into()), "{class} {input}"),
        }
    }
}
