//! Schemas for the keywords that no class uses, or not in every place.

use serde_json::{Value, json};

/// Names and schemas.
pub(crate) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        (
            "bounds",
            json!({"type": "object", "properties": {
                "a": {"type": "number", "exclusiveMinimum": 1, "exclusiveMaximum": 2.5},
                "b": {"type": "integer", "multipleOf": 3, "default": 3},
                "c": {"type": "number", "multipleOf": 0.5},
                "d": {"type": "string", "minLength": 2, "maxLength": 4},
            }, "required": ["a", "b"]}),
        ),
        (
            "constants",
            json!({"properties": {
                "a": {"const": 1}, "b": {"const": "x", "type": "string"}, "c": {"enum": [1, "1", true, null, 1e21]},
                "d": {"const": null}, "e": {"type": "integer", "enum": [1, 2, 3]},
            }, "required": ["a", "c"]}),
        ),
        (
            "not",
            json!({"type": "object", "not": {"required": ["bad"], "properties": {"bad": {"type": "string"}}},
                "properties": {"a": {"not": {"type": "number", "minimum": 5}}, "bad": {}}, "required": ["a"]}),
        ),
        (
            "all",
            // Of a key that several parts have, the last one's value counts.
            json!({"type": "object", "allOf": [
                {"properties": {"z": {"type": "string"}}, "required": ["a"]},
                {"properties": {"a": {"type": "string"}, "b": {"type": "number", "default": 2}}, "required": ["a", "b"]},
            ], "properties": {"c": {"allOf": [{"type": "number"}, {"minimum": 3}]}}, "unevaluatedProperties": false}),
        ),
        (
            "closed",
            json!({"type": "object", "properties": {
                "a": {"type": "object", "properties": {"b": {"type": "number"}}, "additionalProperties": false},
                "n": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": 5},
                "t": {"oneOf": [{"properties": {"k": {"default": true}}, "required": ["k"]}, {"type": "number"}]},
            }, "additionalProperties": {"type": "object", "properties": {"m": {"type": "integer", "minimum": 0}}, "required": ["m"]}, "required": ["a"]}),
        ),
        (
            "counts",
            json!({"type": "object", "minProperties": 1, "maxProperties": 3,
                "properties": {"a": {"type": "object", "maxProperties": 2}},
                "additionalProperties": {"anyOf": [{"type": "string", "pattern": "^[\\s\\d]+$"}, {"type": "boolean"}]}}),
        ),
        (
            "branches",
            json!({"anyOf": [
                {"type": "object", "oneOf": [
                    {"properties": {"a": {"type": "string"}, "d": {"default": 1}}, "required": ["a"]},
                    {"properties": {"b": {"anyOf": [{"type": "array"}, {"type": "string"}]}, "d": {"default": 2}}, "required": ["b"]},
                ]},
                {"type": "array", "items": {"type": "object", "properties": {"z": {"default": "q"}}, "required": ["z"]}},
                {"type": "number", "maximum": 5},
                {"enum": ["x", false]},
            ]}),
        ),
    ]
}
