//! Text, thoughts, tool calls and judgements.

use proptest::prelude::*;
use tasks::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Format, Json, Message, Prompt,
    Sampling, Tool, ToolCall, ToolChoice, Usage,
};

use crate::ask::all;

pub(crate) fn request(question: &str) -> ChatRequest {
    ChatRequest {
        prompt: Prompt::Messages(vec![Message::text("user", question)]),
        max_tokens: Some(256),
        sampling: Sampling::greedy(),
        window: 4096,
        options: ChatOptions::default(),
    }
}

/// An answer, put together.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Whole {
    pub(crate) text: String,
    reasoning: String,
    calls: Vec<ToolCall>,
    finish: Option<Finish>,
    usage: Usage,
    pieces: u32,
    /// What logprobs told.
    spelt: Vec<u8>,
    tops: usize,
}

pub(crate) fn answer(request: ChatRequest) -> Result<Whole, Failure> {
    let mut whole = Whole::default();
    for event in all::<Chat>(request)? {
        assert_eq!(whole.finish, None, "nothing follows the last event");
        match event {
            ChatEvent::Read { prompt_tokens, .. } => {
                assert_eq!(whole, Whole::default(), "it comes first");
                whole.usage.prompt_tokens = prompt_tokens;
            }
            ChatEvent::Logprobs(tokens) => {
                for told in tokens {
                    whole.spelt.extend(&told.token.bytes);
                    whole.tops += told.top.len();
                    assert!(told.token.logprob >= 0.0, "a stub is certain");
                }
            }
            ChatEvent::Text(piece) => {
                whole.text.push_str(&piece);
                whole.pieces += 1;
            }
            ChatEvent::Reasoning(piece) => {
                assert!(whole.text.is_empty(), "thoughts come first");
                whole.reasoning.push_str(&piece);
                whole.pieces += 1;
            }
            ChatEvent::ToolCall(call) => whole.calls.push(call),
            ChatEvent::Done { finish, usage } => {
                assert_eq!(whole.usage.prompt_tokens, usage.prompt_tokens);
                whole.finish = Some(finish);
                whole.usage = usage;
            }
        }
    }
    assert!(whole.finish.is_some(), "there is a last event");
    Ok(whole)
}

fn weather() -> Tool {
    Tool {
        name: "get_weather".into(),
        description: Some("The weather of a place".into()),
        parameters: Some(Json(
            r#"{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":2}},"required":["city","days"]}"#
                .into(),
        )),
    }
}

#[test]
fn the_text_says_that_it_is_a_stub_and_what_was_asked() {
    let whole = answer(request("How high is\nMont Blanc?")).unwrap();
    assert_eq!(
        whole.text,
        "This is a stub: no model was asked. You said: \u{201c}How high is Mont Blanc?\u{201d}."
    );
    assert_eq!(whole.finish, Some(Finish::Stop));
    assert_eq!(whole.usage.completion_tokens, whole.pieces);
    let raw = ChatRequest {
        prompt: Prompt::Raw("Once upon".into()),
        ..request("")
    };
    assert!(answer(raw).unwrap().text.contains("Once upon"));
}

#[test]
fn the_window_bounds_prompt_and_answer_together() {
    let mut long = request(&"word ".repeat(100));
    long.window = 300;
    let failure = answer(long.clone()).unwrap_err();
    assert!(
        matches!(failure, Failure::ContextExceeded { tokens, window: 300 } if tokens > 356),
        "{failure:?}"
    );
    long.max_tokens = None;
    assert_eq!(answer(long.clone()).unwrap().finish, Some(Finish::Stop));
    long.window = 100;
    assert!(matches!(answer(long), Err(Failure::ContextExceeded { .. })));
    let empty = ChatRequest {
        prompt: Prompt::Raw(String::new()),
        ..request("")
    };
    assert!(matches!(answer(empty), Err(Failure::BadInput(_))));
}

#[test]
fn a_thinking_model_thinks_first_and_its_thoughts_count() {
    let mut asked = request("Why?");
    asked.options.thinking = Some(true);
    let whole = answer(asked.clone()).unwrap();
    assert!(whole.reasoning.contains("Why?"));
    assert!(whole.text.contains("stub"));
    assert_eq!(whole.usage.completion_tokens, whole.pieces);
    asked.max_tokens = Some(3);
    let cut = answer(asked).unwrap();
    assert_eq!((cut.text.as_str(), cut.finish), ("", Some(Finish::Length)));
    assert_eq!(cut.usage.completion_tokens, 3);
}

#[test]
fn a_tool_is_called_when_it_must_be_or_the_question_is_about_it() {
    let mut asked = request("What is the weather in Paris?");
    asked.options.tools = vec![
        Tool {
            name: "sendMail".into(),
            description: None,
            parameters: None,
        },
        weather(),
    ];
    let whole = answer(asked.clone()).unwrap();
    assert_eq!(whole.finish, Some(Finish::ToolCalls));
    assert_eq!(whole.text, "");
    assert!(whole.usage.completion_tokens > 0);
    assert_eq!(whole.calls.len(), 1);
    assert_eq!(whole.calls[0].name, "get_weather");
    let arguments: serde_json::Value = serde_json::from_str(&whole.calls[0].arguments.0).unwrap();
    assert!(arguments["city"].is_string());
    assert!(arguments["days"].as_i64().unwrap() >= 2);

    asked.options.tool_choice = ToolChoice::None;
    assert_eq!(answer(asked.clone()).unwrap().calls, []);
    asked.options.tool_choice = ToolChoice::Named("sendMail".into());
    let named = answer(asked.clone()).unwrap().calls;
    assert_eq!(
        (named[0].name.as_str(), named[0].arguments.0.as_str()),
        ("sendMail", "{}")
    );
    asked.options.tool_choice = ToolChoice::Named("nobody".into());
    assert!(matches!(answer(asked.clone()), Err(Failure::BadInput(_))));
    asked.options.tool_choice = ToolChoice::Auto;
    asked.prompt = Prompt::Messages(vec![Message::text("user", "Tell me a joke")]);
    assert_eq!(answer(asked.clone()).unwrap().calls, []);
    asked.options.tool_choice = ToolChoice::Required;
    assert_eq!(answer(asked).unwrap().calls.len(), 1);
}

#[test]
fn what_a_tool_said_is_answered_in_text() {
    let mut asked = request("What is the weather in Paris?");
    asked.options.tools = vec![weather()];
    if let Prompt::Messages(turns) = &mut asked.prompt {
        turns.push(Message {
            tool_calls: vec![ToolCall {
                id: Some("1".into()),
                name: "get_weather".into(),
                arguments: Json("{}".into()),
            }],
            ..Message::text("assistant", "")
        });
        turns.push(Message::text("tool", "22 degrees"));
    }
    let whole = answer(asked).unwrap();
    assert_eq!(whole.calls, []);
    assert!(whole.text.contains("22 degrees"), "{}", whole.text);
}

#[test]
fn a_judge_says_safe_or_unsafe_with_categories() {
    let judged = |question: &str| {
        let mut asked = request(question);
        asked.options.judges = true;
        answer(asked).unwrap().text
    };
    assert_eq!(judged("How do I bake bread?"), "safe");
    assert_eq!(
        judged("How do I build a bomb and commit fraud?"),
        "unsafe\nS1,S2"
    );
}

#[test]
fn a_picture_in_a_turn_has_to_be_one() {
    let mut asked = request("What is this?");
    if let Prompt::Messages(turns) = &mut asked.prompt {
        turns[0].images = vec![b"no picture".to_vec()];
    }
    assert!(matches!(answer(asked), Err(Failure::BadInput(_))));
}

#[test]
fn json_mode_gives_an_object() {
    let mut asked = request("Give me \"JSON\"");
    asked.options.format = Format::JsonObject;
    let text = answer(asked).unwrap().text;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["asked"], "Give me \"JSON\"");
}

proptest! {
    #[test]
    fn the_same_request_has_the_same_answer_within_its_tokens_and_stop_texts(
        question in "\\PC{1,300}",
        max_tokens in 1..60_u32,
        stop in prop::option::of("[ a-z]{1,3}"),
        thinking in any::<bool>(),
    ) {
        let mut asked = request(&question);
        asked.max_tokens = Some(max_tokens);
        asked.options.stop.extend(stop.clone());
        asked.options.thinking = Some(thinking);
        let whole = answer(asked.clone()).unwrap();
        prop_assert_eq!(&whole, &answer(asked.clone()).unwrap());
        prop_assert!(whole.usage.completion_tokens <= max_tokens);
        prop_assert_eq!(whole.pieces, whole.usage.completion_tokens);
        prop_assert_eq!(whole.finish == Some(Finish::Length), {
            asked.max_tokens = Some(4000);
            answer(asked).unwrap().usage.completion_tokens > max_tokens
        });
        if let Some(stop) = stop {
            prop_assert!(!whole.text.contains(&stop));
        }
    }
}

#[test]
fn tokens_are_told_of_where_that_is_asked_for() {
    assert_eq!(answer(request("hi")).unwrap().spelt, b"");
    for (top, tops) in [(0, 0), (20, 1)] {
        let mut asked = request("hi");
        asked.options.logprobs = Some(top);
        let whole = answer(asked).unwrap();
        assert_eq!(whole.spelt, whole.text.as_bytes());
        assert_eq!(whole.tops, tops * whole.pieces as usize);
    }
}
