//! `reasoning_effort`: the words of callers, and those that a model knows.

use catalog::{ModelCard, ReasoningEffort};

use crate::run::text_generation::GPT_OSS;

/// The words, least thinking first.
const RANKS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// How much a model is told to think.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Thinking {
    /// Whether; `None`: the model's own habit.
    pub(super) is_on: Option<bool>,
    /// How much, in the model's own word.
    pub(super) effort: Option<String>,
}

/// What `word` (`reasoning_effort`) and `enabled` (`chat_template_kwargs.enable_thinking`) come to
/// with this model. A word that the model lacks becomes the next one up that it has; where thinking
/// is mandatory, the default.
pub(super) fn thinking(card: &ModelCard, word: Option<&str>, enabled: Option<bool>) -> Thinking {
    if !card.flags.reasoning {
        return Thinking::default();
    }
    let of_class;
    let levels = match &card.reasoning_effort {
        Some(levels) => levels,
        // One of the two cards lacks the words; the schema of both has them.
        None if card.schema_class == GPT_OSS => {
            of_class = ReasoningEffort {
                supported: ["low", "medium", "high"].map(Into::into).into(),
                default: "medium".into(),
                mandatory: true,
            };
            &of_class
        }
        None => {
            return Thinking {
                is_on: enabled,
                effort: None,
            };
        }
    };
    let effort = match word {
        Some(word) => level(levels, word),
        None => &levels.default,
    };
    if effort == "none" || enabled == Some(false) && !levels.mandatory {
        return Thinking {
            is_on: Some(false),
            effort: None,
        };
    }
    Thinking {
        is_on: Some(true),
        effort: Some(effort.into()),
    }
}

fn level<'a>(levels: &'a ReasoningEffort, word: &str) -> &'a str {
    let known = |word: &str| levels.supported.iter().find(|known| *known == word);
    if let Some(known) = known(word) {
        return known;
    }
    let Some(rank) = RANKS.iter().position(|ranked| *ranked == word) else {
        return &levels.default;
    };
    if levels.mandatory {
        return &levels.default;
    }
    if word == "minimal"
        && let Some(none) = known("none")
    {
        return none;
    }
    let up = RANKS[rank..].iter().find_map(|word| known(word));
    let down = || RANKS[..rank].iter().rev().find_map(|word| known(word));
    up.or_else(down).unwrap_or(&levels.default)
}

#[cfg(test)]
mod tests {
    use catalog::Catalog;

    use super::*;

    #[test]
    fn words_become_those_of_the_model() {
        let catalog = Catalog::builtin().unwrap();
        for (model, pairs) in [
            (
                "@cf/moonshotai/kimi-k2.6",
                "low=high medium=high max=high high=high none=off",
            ),
            (
                "@cf/zai-org/glm-5.2",
                "low=high medium=high high=high xhigh=max max=max minimal=off none=off =max",
            ),
            (
                "@cf/zai-org/glm-5.3",
                "low=low medium=max none=max minimal=max xhigh=max high=high =max",
            ),
            (
                "@cf/qwen/qwen3.8-27b",
                "low=low high=xhigh max=xhigh =xhigh",
            ),
            (
                "@cf/openai/gpt-oss-120b",
                "low=low max=medium none=medium =medium",
            ),
            (
                "@cf/openai/gpt-oss-20b",
                "low=low high=high none=medium =medium",
            ),
            ("@cf/zai-org/glm-4.7-flash", "low=on =on"),
            ("@cf/meta/llama-3.2-1b-instruct", "low=unset =unset"),
        ] {
            let card = catalog.card(model).unwrap();
            for pair in pairs.split(' ') {
                let (word, wanted) = pair.split_once('=').unwrap();
                let word = Some(word).filter(|word| !word.is_empty());
                let thinking = thinking(card, word, Some(true));
                let told = match (thinking.is_on, thinking.effort.as_deref()) {
                    (_, Some(effort)) => effort,
                    (Some(true), None) => "on",
                    (Some(false), None) => "off",
                    (None, None) => "unset",
                };
                assert_eq!(told, wanted, "{model} {pair}");
            }
        }
        let glm = catalog.card("@cf/zai-org/glm-5.2").unwrap();
        assert_eq!(thinking(glm, Some("max"), Some(false)).is_on, Some(false));
        let always = catalog.card("@cf/zai-org/glm-5.3").unwrap();
        assert_eq!(thinking(always, None, Some(false)).is_on, Some(true));
    }
}
