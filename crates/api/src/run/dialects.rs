//! Where the published schemas of two models of one class differ: the words of `reasoning_effort`, and
//! a few fields that one model alone has.
//!
//! Little of it can make an input fail (a nested `anyOf` that fails counts as absent), but the words
//! show in the lists of other failures, and in what `models/schema` answers.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use catalog::ModelCard;
use serde_json::{Value, json};

use super::classes::{self, Class};

/// A field that one model has beside those of its class.
struct Extra {
    model: &'static str,
    /// The properties that it stands among; empty for the input's own.
    under: &'static str,
    name: &'static str,
    schema: fn() -> Value,
}

/// The catalogue's notes on single models. That the switches of nemotron are booleans without a
/// default is inferred from the ones beside them.
const EXTRAS: &[Extra] = &[
    Extra {
        model: "@cf/nvidia/nemotron-3-120b-a12b",
        under: "chat_template_kwargs",
        name: "low_effort",
        schema: || json!({"type": "boolean"}),
    },
    Extra {
        model: "@cf/nvidia/nemotron-3-120b-a12b",
        under: "chat_template_kwargs",
        name: "force_nonempty_content",
        schema: || json!({"type": "boolean"}),
    },
    Extra {
        model: "@cf/google/gemma-4-26b-a4b-it",
        under: "",
        name: "skip_special_tokens",
        schema: || json!({"type": "boolean", "default": false}),
    },
];

/// What a class that is made for a card depends on.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    class: &'static str,
    words: Option<Vec<String>>,
    /// The model, where it has fields of its own.
    model: Option<&'static str>,
}

/// The classes of cards that say something of their own; they stay, and are no more than the
/// catalogue has names.
static MADE: LazyLock<Mutex<HashMap<Key, &'static Class>>> = LazyLock::new(Mutex::default);

/// The class of a model, as published for it.
pub(crate) fn of(card: &ModelCard) -> Option<&'static Class> {
    let class = classes::of(&card.schema_class)?;
    let key = Key {
        class: class.name,
        words: card
            .reasoning_effort
            .as_ref()
            .map(|effort| effort.supported.clone()),
        model: EXTRAS
            .iter()
            .map(|extra| extra.model)
            .find(|model| *model == card.name),
    };
    if key.words.is_none() && key.model.is_none() {
        return Some(class);
    }
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(class) = made.get(&key) {
        return Some(class);
    }
    let mut input = class.input_json.clone();
    adapt(&mut input, card);
    let own = if input == class.input_json {
        class
    } else {
        // The class is one of those that were read, with names and words of the catalogue in it.
        Box::leak(Box::new(class.with_input(input).ok()?))
    };
    made.insert(key, own);
    Some(own)
}

/// Writes what is the card's own into the forms of an input.
fn adapt(form: &mut Value, card: &ModelCard) {
    for list in ["oneOf", "anyOf"] {
        let branches = form.get_mut(list).and_then(Value::as_array_mut);
        for branch in branches.into_iter().flatten() {
            adapt(branch, card);
        }
    }
    let properties = form.get_mut("properties").and_then(Value::as_object_mut);
    let Some(properties) = properties else {
        return;
    };
    if let Some(effort) = &card.reasoning_effort
        && let Some(property) = properties.get_mut("reasoning_effort")
    {
        *property =
            json!({"anyOf": [{"type": "string", "enum": effort.supported}, {"type": "null"}]});
    }
    let is_chat = properties.contains_key("chat_template_kwargs");
    for extra in EXTRAS
        .iter()
        .filter(|extra| is_chat && extra.model == card.name)
    {
        let within = match extra.under {
            "" => Some(&mut *properties),
            under => properties
                .get_mut(under)
                .and_then(|field| field.get_mut("properties")?.as_object_mut()),
        };
        if let Some(within) = within {
            within.insert(extra.name.into(), (extra.schema)());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validate::validate;

    fn class(model: &str) -> &'static Class {
        let catalog = catalog::Catalog::builtin().unwrap();
        of(catalog.card(model).unwrap()).unwrap()
    }

    fn chat(model: &str) -> &'static Value {
        &class(model).input_json["anyOf"][0]["oneOf"][1]["properties"]
    }

    #[test]
    fn the_words_of_reasoning_effort_are_the_cards() {
        let words = |model| chat(model)["reasoning_effort"]["anyOf"][0]["enum"].to_string();
        assert_eq!(words("@cf/moonshotai/kimi-k2.6"), r#"["high","none"]"#);
        assert_eq!(words("@cf/zai-org/glm-5.2"), r#"["max","high","none"]"#);
        assert_eq!(words("@cf/qwen/qwen3.8-27b"), r#"["low","medium","xhigh"]"#);
        // In their place, and null stays allowed.
        let names: Vec<_> = chat("@cf/zai-org/glm-5.2")
            .as_object()
            .unwrap()
            .keys()
            .collect();
        let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
        let expected = [
            "presence_penalty",
            "reasoning_effort",
            "chat_template_kwargs",
        ];
        assert!(names.windows(3).any(|window| window == expected));
        // The classes without that field get none, and the card's words of gpt-oss are its schema's.
        for model in ["@cf/zai-org/glm-4.7-flash", "@cf/openai/gpt-oss-120b"] {
            let catalog = catalog::Catalog::builtin().unwrap();
            let base = classes::of(&catalog.card(model).unwrap().schema_class).unwrap();
            assert!(std::ptr::eq(class(model), base), "{model}");
        }
    }

    #[test]
    fn a_wrong_word_fails_nothing_but_shows_in_the_list_of_another_failure() {
        let check = |mut input: Value| {
            validate(&class("@cf/moonshotai/kimi-k2.6").input, &mut input).map(|()| input)
        };
        let message = json!([{"role": "user", "content": "x"}]);
        assert!(check(json!({"messages": message, "reasoning_effort": "low"})).is_ok());
        let failure = check(json!({"messages": [{}], "reasoning_effort": "low"})).unwrap_err();
        assert!(
            failure.contains("enum low not in high,none at '/reasoning_effort'"),
            "{failure}"
        );
    }

    #[test]
    fn fields_of_one_model_alone_are_checked_for_it_alone() {
        let check = |model: &str, kwargs: Value| {
            let message = json!([{"role": "user", "content": "x"}]);
            let mut input = json!({"messages": message, "chat_template_kwargs": kwargs});
            validate(&class(model).input, &mut input).map(|()| input)
        };
        let nemotron = "@cf/nvidia/nemotron-3-120b-a12b";
        let wrong = json!({"low_effort": "yes"});
        assert!(check(nemotron, json!({"low_effort": true})).is_ok());
        let failure = check(nemotron, wrong.clone()).unwrap_err();
        let wanted =
            "Type mismatch of '/chat_template_kwargs/low_effort', 'boolean' not in 'string'";
        assert!(failure.contains(wanted), "{failure}");
        assert!(check("@cf/zai-org/glm-5.2", wrong).is_ok());
        let gemma = check("@cf/google/gemma-4-26b-a4b-it", json!({})).unwrap();
        assert_eq!(gemma["skip_special_tokens"], false);
        assert!(std::ptr::eq(class(nemotron), class(nemotron)), "made once");
    }
}
