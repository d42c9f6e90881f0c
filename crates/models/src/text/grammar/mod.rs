//! Grammars over tokens: which tokens may come next so that a text becomes JSON of a schema, or a call of a tool.
//!
//! The work is llguidance's (an Earley parser over a lexer of regular expressions, walked along a trie of the
//! vocabulary). What is ours: the bytes of the vocabulary, bounds for schemas of strangers, and when a grammar holds.

mod cache;
mod channels;
mod guide;
mod held;
mod schema;
mod vocabulary;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::json;
use tasks::Failure;

use crate::text::Tokenizer;
use cache::Cache;
use held::Makers;

pub(super) use cache::Grammar;
pub(super) use channels::{ChannelGuide, Hold};
pub(super) use guide::{Guide, Mark, Thought};
pub(super) use schema::{checked, object};

/// Work that reading one grammar may take; llguidance does some 50,000 a millisecond.
const READING_MAX_FUEL: u64 = 500_000;
/// Work of the lexer that one mask may take; llguidance does some 14,000 a millisecond.
const MASK_MAX_FUEL: u64 = 100_000;
/// Items of the parser that one mask may make; llguidance makes some 20,000 a millisecond.
const MASK_MAX_ITEMS: usize = 30_000;
/// States of the lexer that one request may make, of 1 to 2 kB each.
const LEXER_MAX_STATES: usize = 20_000;
/// Symbols in the rules of one grammar.
const GRAMMAR_MAX_SYMBOLS: usize = 100_000;
/// Stack of the thread that reads a grammar, in bytes: the reader goes as deep as the schema and what it refers to.
/// Only pages that are touched take memory.
const READING_STACK_BYTES: usize = 256 << 20;

/// White space between the parts of a JSON text: none, a space, or a line break with an indent. Without a bound a
/// small model may write nothing else.
const WHITE_SPACE: &str = r"(?: |\n[ \t]{0,24})";

/// Reads grammars for one vocabulary.
pub(super) struct Machine {
    factory: ParserFactory,
    trie: TokTrie,
    cache: Cache,
    makers: Option<Makers>,
}

impl Machine {
    /// For a model of `vocabulary` tokens, whose answers end with one of `ends`.
    ///
    /// # Errors
    /// What about the checkpoint keeps grammars from being held to.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        ends: &[u32],
        vocabulary: usize,
    ) -> Result<Self, String> {
        let ends: Vec<u32> = ends
            .iter()
            .copied()
            .filter(|end| (*end as usize) < vocabulary)
            .collect();
        let end = *ends
            .first()
            .ok_or("it names no token that ends an answer")?;
        let words = vocabulary::bytes(tokenizer, vocabulary);
        let size = u32::try_from(words.len()).map_err(|error| error.to_string())?;
        let made = catch_unwind(AssertUnwindSafe(|| {
            let trie = TokTrie::from(&TokRxInfo::new(size, end), &words).with_eos_tokens(&ends);
            // The model chooses how to cut what a grammar forces: it was trained on the usual cuts.
            let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie.clone()));
            let slices = llguidance::earley::SlicedBiasComputer::json_slices();
            let mut factory =
                ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
                    .map_err(|error| error.to_string())?;
            factory.quiet();
            *factory.limits_mut() = ParserLimits {
                initial_lexer_fuel: READING_MAX_FUEL,
                step_lexer_fuel: MASK_MAX_FUEL,
                step_max_items: MASK_MAX_ITEMS,
                max_lexer_states: LEXER_MAX_STATES,
                max_grammar_size: GRAMMAR_MAX_SYMBOLS,
                verbose_errors: false,
                precompute_large_lexemes: false,
                ..ParserLimits::default()
            };
            Ok(Self {
                factory,
                trie,
                cache: Cache::default(),
                makers: Makers::start(),
            })
        }));
        made.unwrap_or_else(|_| Err("the grammar library gave up on its vocabulary".into()))
    }

    /// A grammar in llguidance's dialect of Lark, read anew or kept since it was asked for last.
    ///
    /// # Errors
    /// [`Failure::JsonModeUnmet`] for one that cannot be held to, or only with more work than is allowed.
    pub(super) fn grammar(&self, text: String) -> Result<Grammar, Failure> {
        if let Some(kept) = self.cache.find(&text) {
            return Ok(kept);
        }
        let grammar = self.read(text.clone())?;
        self.cache.keep(text, &grammar);
        Ok(grammar)
    }

    fn read(&self, text: String) -> Result<Grammar, Failure> {
        let read = || {
            let grammar = TopLevelGrammar::from_lark(text);
            let parser = self.factory.create_parser(grammar);
            let parser = parser.map_err(|error| first_line(&format!("{error:#}")))?;
            let mut matcher = Matcher::new(Ok(parser));
            // A grammar that nothing satisfies is found out by asking for its first token.
            match matcher.compute_mask_or_eos() {
                Ok(mask) => Ok(Grammar { matcher, mask }),
                Err(error) => Err(first_line(&format!("{error:#}"))),
            }
        };
        let caught = || catch_unwind(AssertUnwindSafe(read));
        let read = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new()
                .name("grammar".into())
                .stack_size(READING_STACK_BYTES)
                .spawn_scoped(scope, caught)?;
            let gave_up = || std::io::Error::other("the thread that read it ended");
            thread.join().map_err(|_| gave_up())
        });
        let read =
            read.map_err(|error| Failure::Internal(format!("reading a grammar: {error}")))?;
        let gave_up = || Err("the grammar library gave up on it".to_owned());
        read.unwrap_or_else(|_| gave_up())
            .map_err(Failure::JsonModeUnmet)
    }

    /// The bytes of a token; a special token's text.
    fn bytes(&self, token: u32) -> &[u8] {
        if token as usize >= self.trie.vocab_size() {
            return &[];
        }
        let bytes = self.trie.token(token);
        match bytes.split_first() {
            Some((&TokTrie::SPECIAL_TOKEN_MARKER, text)) => text,
            _ => bytes,
        }
    }

    /// Tokens that spell bytes, as few as there are.
    fn spell(&self, bytes: &[u8]) -> Vec<u32> {
        self.trie.greedy_tokenize(bytes)
    }
}

/// A schema as a rule of a grammar. It has been [`checked`].
pub(super) fn rule(schema: &serde_json::Value) -> String {
    let mut schema = schema.clone();
    if let Some(keywords) = schema.as_object_mut() {
        // llguidance's own word for the options of the rule; a caller's never comes this far.
        keywords.insert(
            "x-guidance".into(),
            json!({ "whitespace_pattern": WHITE_SPACE }),
        );
    }
    format!("%json {schema}")
}

/// A text as a literal of a grammar.
pub(super) fn literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use tasks::{Json, Tool, ToolChoice};

    use super::*;
    use crate::text::dialect::{Calls, Dialect};

    fn machine() -> Machine {
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/golden/tiny-llama/tokenizer.json"
        );
        let tokenizer = Tokenizer::from_file(golden).expect("a tokenizer");
        let vocabulary = tokenizer.get_vocab_size(true);
        Machine::new(&tokenizer, &[0], vocabulary).expect("a machine")
    }

    /// Whether a grammar takes a text, and the answer may end there.
    fn takes(machine: &Machine, rules: &str, text: &str) -> bool {
        let grammar = format!("start: calls\n{rules}\nGAP: /[ \\n]{{1,4}}/\n");
        let mut matcher = machine.grammar(grammar).expect("a grammar").matcher;
        let tokens = machine.spell(text.as_bytes());
        matcher.consume_tokens(&tokens).is_ok() && matcher.is_accepting().unwrap_or(false)
    }

    #[test]
    fn a_grammar_that_was_asked_for_again_allows_the_same_and_few_are_kept() {
        let machine = machine();
        let text = |number: usize| format!("start: \"a{number}\" | \"b\"\n");
        let steps = |grammar: &Grammar| {
            let mut held = grammar.begin();
            let first = held.mask().expect("a mask").as_slice().to_vec();
            let token = machine.spell(b"a")[0];
            held.take(token).expect("taken");
            if let Some(makers) = &machine.makers {
                held.make_ahead(makers);
            }
            (first, held.mask().expect("a mask").as_slice().to_vec())
        };
        let fresh = steps(&machine.read(text(0)).expect("a grammar"));
        for _ in 0..3 {
            assert!(steps(&machine.grammar(text(0)).expect("a grammar")) == fresh);
        }
        for number in 0..100 {
            machine.grammar(text(number)).expect("a grammar");
        }
        assert!(machine.cache.find(&text(0)).is_none() && machine.cache.find(&text(99)).is_some());
        assert!(machine.grammar("start: \"a\" missing\n".into()).is_err());
    }

    #[test]
    fn calls_of_every_family_are_held_to_their_schemas() {
        let machine = machine();
        let schema = r#"{"properties":{"n":{"type":"integer","maximum":5}},"required":["n"]}"#;
        let tool = |name: &str| Tool {
            name: name.to_owned(),
            description: None,
            parameters: Some(Json(schema.to_owned())),
        };
        let tools = [tool("f"), tool("g")];
        for (dialect, whole, begun) in [
            (
                Dialect::Hermes,
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": N}}\n</tool_call>",
                "\n{\"name\":\"g\", \"arguments\": {\"n\":N} }</tool_call>",
            ),
            (
                Dialect::Llama,
                "{\"name\": \"f\", \"parameters\": {\"n\": N}}; {\"name\": \"g\", \"parameters\": {\"n\": 1}}",
                "{\"name\": \"f\", \"parameters\": {\"n\": N}}",
            ),
            (
                Dialect::Mistral,
                "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"n\": N}}]",
                " [{\"name\": \"f\", \"arguments\": {\"n\": 1}}, {\"name\": \"g\", \"arguments\": {\"n\": N}}]",
            ),
            (
                Dialect::MistralNamed,
                "[TOOL_CALLS]f[ARGS]{\"n\": N}",
                "g[ARGS]{\"n\": N}",
            ),
            (
                Dialect::Gemma,
                "```tool_code\n{\"name\": \"f\", \"arguments\": {\"n\": N}}\n```",
                "\n{\"name\": \"f\", \"arguments\": {\"n\": N}}\n```",
            ),
        ] {
            let calls = Calls {
                dialect,
                tools: &tools,
                choice: &ToolChoice::Required,
                one_call: false,
                special: &|_| None,
            };
            for (rules, text) in [(calls.whole(), whole), (calls.begun(), begun)] {
                let rules = rules.expect("rules");
                assert!(
                    takes(&machine, &rules, &text.replace('N', "5")),
                    "{text}\n{rules}"
                );
                assert!(!takes(&machine, &rules, &text.replace('N', "6")), "{text}");
                assert!(
                    !takes(
                        &machine,
                        &rules,
                        &text
                            .replace("\"f\"", "\"h\"")
                            .replace("g[", "h[")
                            .replace("f[", "h[")
                            .replace("\"g\"", "\"h\"")
                            .replace('N', "5")
                    ),
                    "{text}"
                );
            }
        }
    }

    #[test]
    #[allow(clippy::too_many_lines)] // a table of cases
    fn arguments_that_stand_one_by_one_are_held_to_their_types() {
        let machine = machine();
        let schema = r#"{"properties":{"n":{"type":"integer","maximum":5},"s":{"type":"string"},
            "e":{"type":"string","enum":["a","b c"]},"l":{"type":"array","items":{"type":"boolean"}}},"required":["n"]}"#;
        let tool = |name: &str, schema: Option<&str>| Tool {
            name: name.to_owned(),
            description: None,
            parameters: schema.map(|schema| Json(schema.to_owned())),
        };
        let tools = [tool("f", Some(schema)), tool("g", None)];
        let tagged =
            |body: &str| format!("<tool_call>\n<function=f>\n{body}</function>\n</tool_call>");
        let tag = |key: &str, value: &str| format!("<parameter={key}>\n{value}\n</parameter>\n");
        let pair = |key: &str, value: &str| {
            format!("<arg_key>{key}</arg_key><arg_value>{value}</arg_value>")
        };
        let dsml = |body: &str| {
            format!(
                "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n{body}</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
            )
        };
        let parameter = |key: &str, is_text: bool, value: &str| {
            format!(
                "<｜DSML｜parameter name=\"{key}\" string=\"{is_text}\">{value}</｜DSML｜parameter>\n"
            )
        };
        let kimi = |arguments: &str| {
            format!(
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{arguments}\
                 <|tool_call_end|><|tool_calls_section_end|>"
            )
        };
        let gemma = |arguments: &str| format!("<|tool_call>call:f{{{arguments}}}<tool_call|>");
        for (dialect, taken, refused) in [
            (
                Dialect::Tagged,
                vec![
                    tagged(&tag("n", "5")),
                    tagged(
                        &[
                            tag("n", "-1"),
                            tag("s", "any\n<b>\n\"x\" é"),
                            tag("e", "b c"),
                            tag("l", "[true, false]"),
                        ]
                        .concat(),
                    ),
                    "<tool_call>\n<function=g>\n</function>\n</tool_call>".into(),
                ],
                vec![
                    tagged(&tag("n", "6")),
                    tagged(""),
                    tagged(&[tag("n", "5"), tag("e", "c")].concat()),
                    tagged(&[tag("n", "5"), tag("l", "[1]")].concat()),
                    tagged(&[tag("n", "5"), tag("x", "1")].concat()),
                    tagged(&tag("n", "5")).replace("=f", "=h"),
                ],
            ),
            (
                Dialect::Paired,
                vec![
                    format!(
                        "<tool_call>f{}{}</tool_call>",
                        pair("n", "5"),
                        pair("s", "a <b> c")
                    ),
                    "<tool_call>g</tool_call>".into(),
                ],
                vec![
                    format!("<tool_call>f{}</tool_call>", pair("n", "6")),
                    "<tool_call>f</tool_call>".into(),
                ],
            ),
            (
                Dialect::Dsml,
                vec![dsml(
                    &[parameter("n", false, "5"), parameter("s", true, "a\nb")].concat(),
                )],
                vec![
                    dsml(&parameter("n", false, "6")),
                    dsml(&parameter("n", true, "5")),
                ],
            ),
            (
                Dialect::Kimi,
                vec![kimi("{\"n\":5,\"s\":\"x\"}")],
                vec![kimi("{\"n\":6}"), kimi("{}")],
            ),
            (
                Dialect::Gemma4,
                vec![
                    gemma("n:5"),
                    gemma("n:5,s:<|\"|>a, {b}<|\"|>,e:<|\"|>a<|\"|>,l:[true,{k:<|\"|>v<|\"|>}]"),
                    "<|tool_call>call:g{}<tool_call|>".into(),
                ],
                vec![
                    gemma("n:6"),
                    gemma(""),
                    gemma("n:5,e:<|\"|>c<|\"|>"),
                    gemma("n:5,s:x"),
                ],
            ),
        ] {
            let calls = Calls {
                dialect,
                tools: &tools,
                choice: &ToolChoice::Required,
                one_call: false,
                special: &|_| None,
            };
            let whole = calls.whole().expect("rules");
            let begun = calls.begun().expect("rules");
            let (opening, _) = dialect.frame();
            let behind = |text: &str| text.strip_prefix(opening).unwrap_or_default().to_owned();
            for (texts, is_taken) in [(taken, true), (refused, false)] {
                for text in texts {
                    assert_eq!(takes(&machine, &whole, &text), is_taken, "{text}\n{whole}");
                    assert_eq!(
                        takes(&machine, &begun, &behind(&text)),
                        is_taken,
                        "{text}\n{begun}"
                    );
                }
            }
        }
    }
}
