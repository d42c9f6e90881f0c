//! Chat: a short text that says whose it is and what was asked; JSON, tool calls and judgements where
//! those are wanted.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{
    Chat, ChatEvent, ChatRequest, Failure, Finish, Format, Logprob, Message, Prompt, TokenLogprobs,
    ToolCall, Usage,
};

use super::json::{self, Unmet};
use super::tokens::{count, quote, split};
use super::{Stub, judge, picture, tools};

/// Characters of the question that an answer quotes.
const QUOTE_MAX_CHARS: usize = 80;
/// Tokens that a template puts around each turn.
const TURN_TOKENS: u32 = 4;
/// Tokens that stand for a picture.
const PICTURE_TOKENS: u32 = 256;

/// What the stub says.
enum Said {
    Text(String),
    Call(ToolCall),
}

impl DirectModel<Chat> for Stub {
    fn answer(&self, request: ChatRequest) -> Result<Answer<ChatEvent>, Failure> {
        let prompt_tokens = prompt_tokens(&request)?;
        let most = most_tokens(&request, prompt_tokens)?;
        let asked = asked(&request.prompt);
        let thinks = request.options.thinking == Some(true) && !request.options.judges;
        let thought = thinks.then(|| {
            let asked = quote(asked, QUOTE_MAX_CHARS);
            format!("A stub does not think. It was asked: \u{201c}{asked}\u{201d}.")
        });
        let said = say(&request, asked)?;
        let events = tell(thought, said, most, prompt_tokens);
        Ok(match request.options.logprobs {
            None => super::pieces(events),
            Some(top) => super::pieces(events.flat_map(move |event| weighed(event, top))),
        })
    }
}

fn prompt_tokens(request: &ChatRequest) -> Result<u32, Failure> {
    let of_prompt = match &request.prompt {
        Prompt::Raw(text) => count(text),
        Prompt::Messages(turns) => {
            let mut tokens = 0_u32;
            for turn in turns {
                tokens = tokens.saturating_add(turn_tokens(turn)?);
            }
            tokens
        }
    };
    let of_tools = request.options.tools.iter().map(|tool| {
        let description = tool.description.as_deref().map_or(0, count);
        let parameters = tool.parameters.as_ref().map_or(0, |json| count(&json.0));
        count(&tool.name) + description + parameters
    });
    let tokens = of_tools.fold(of_prompt, u32::saturating_add);
    if tokens == 0 {
        return Err(Failure::BadInput("the prompt is empty".into()));
    }
    Ok(tokens)
}

fn turn_tokens(turn: &Message) -> Result<u32, Failure> {
    for image in &turn.images {
        picture::look(image)?;
    }
    let calls = turn.tool_calls.iter();
    let calls: u32 = calls
        .map(|call| count(&call.name) + count(&call.arguments.0))
        .sum();
    let pictures = u32::try_from(turn.images.len()).unwrap_or(u32::MAX);
    Ok(TURN_TOKENS
        .saturating_add(count(&turn.content))
        .saturating_add(calls)
        .saturating_add(PICTURE_TOKENS.saturating_mul(pictures)))
}

/// The tokens that an answer may have.
fn most_tokens(request: &ChatRequest, prompt_tokens: u32) -> Result<u32, Failure> {
    let room = request.window.saturating_sub(prompt_tokens);
    let most = request.max_tokens.unwrap_or(room).max(1);
    let tokens = prompt_tokens as usize + most as usize;
    let window = request.window as usize;
    if tokens > window {
        return Err(Failure::ContextExceeded { tokens, window });
    }
    Ok(most)
}

/// What the user said last.
fn asked(prompt: &Prompt) -> &str {
    match prompt {
        Prompt::Raw(text) => text,
        Prompt::Messages(turns) => {
            let users = turns.iter().rev().find(|turn| turn.role == "user");
            users.or(turns.last()).map_or("", |turn| &turn.content)
        }
    }
}

fn say(request: &ChatRequest, asked: &str) -> Result<Said, Failure> {
    let options = &request.options;
    if options.judges {
        return Ok(Said::Text(judge::judgement(&request.prompt)));
    }
    let turns = match &request.prompt {
        Prompt::Raw(_) => &[][..],
        Prompt::Messages(turns) => turns,
    };
    let last = turns.last();
    if let Some(call) = tools::call(options, asked, last)? {
        return Ok(Said::Call(call));
    }
    let quoted = quote(asked, QUOTE_MAX_CHARS);
    let text = match &options.format {
        Format::JsonSchema(schema) => json::instance(&schema.0).map_err(|unmet| match unmet {
            Unmet::NoJson(error) => Failure::BadInput(format!("the schema is no JSON: {error}")),
            unmet => Failure::JsonModeUnmet(unmet.to_string()),
        })?,
        Format::JsonObject => serde_json::json!({ "stub": true, "asked": quoted }).to_string(),
        Format::Text => match last {
            Some(turn) if tools::is_result(turn) => {
                let result = quote(&turn.content, QUOTE_MAX_CHARS);
                format!(
                    "This is a stub: no model was asked. The tool said: \u{201c}{result}\u{201d}."
                )
            }
            _ => format!("This is a stub: no model was asked. You said: \u{201c}{quoted}\u{201d}."),
        },
    };
    Ok(Said::Text(stopped(text, &options.stop)))
}

/// What comes before the first stop text.
fn stopped(mut text: String, stops: &[String]) -> String {
    let found = stops.iter().filter(|stop| !stop.is_empty());
    if let Some(at) = found.filter_map(|stop| text.find(stop.as_str())).min() {
        text.truncate(at);
    }
    text
}

/// The events of an answer of at most `most` tokens, each a piece.
fn tell(
    thought: Option<String>,
    said: Said,
    most: u32,
    prompt_tokens: u32,
) -> impl Iterator<Item = ChatEvent> {
    let mut left = most;
    let thought = thought.map(|thought| kept(thought, &mut left));
    let is_cut = matches!(thought, Some((_, true)));
    let (text, call, finish) = match said {
        _ if is_cut => (None, None, Finish::Length),
        Said::Text(text) => {
            let (text, is_cut) = kept(text, &mut left);
            let finish = if is_cut { Finish::Length } else { Finish::Stop };
            (Some(text), None, finish)
        }
        // Half a call is none.
        Said::Call(call) => match left.checked_sub(count(&call.name) + count(&call.arguments.0)) {
            Some(rest) => {
                left = rest;
                (None, Some(call), Finish::ToolCalls)
            }
            None => (None, None, Finish::Length),
        },
    };
    let usage = Usage {
        prompt_tokens,
        completion_tokens: most - left,
        cached_tokens: 0,
    };
    let read = ChatEvent::Read {
        prompt_tokens,
        cached_tokens: 0,
    };
    let thought = Pieces::of(thought.map(|(thought, _)| thought)).map(ChatEvent::Reasoning);
    let text = Pieces::of(text).map(ChatEvent::Text);
    let call = call.map(ChatEvent::ToolCall);
    let done = ChatEvent::Done { finish, usage };
    std::iter::once(read)
        .chain(thought)
        .chain(text)
        .chain(call)
        .chain([done])
}

/// A piece behind how likely it was: a stub can say nothing else, so it was certain.
fn weighed(event: ChatEvent, top: u32) -> impl Iterator<Item = ChatEvent> {
    let piece = match &event {
        ChatEvent::Text(piece) | ChatEvent::Reasoning(piece) => Some(piece),
        _ => None,
    };
    let logprobs = piece.map(|piece| {
        let token = Logprob {
            bytes: piece.as_bytes().into(),
            logprob: 0.0,
        };
        let top = (top > 0).then(|| token.clone()).into_iter().collect();
        ChatEvent::Logprobs(vec![TokenLogprobs { token, top }])
    });
    logprobs.into_iter().chain([event])
}

/// The text as far as `left` tokens go, which it takes; true if that is not all of it.
fn kept(mut text: String, left: &mut u32) -> (String, bool) {
    let tokens = count(&text);
    if tokens <= *left {
        *left -= tokens;
        return (text, false);
    }
    let bytes = split(&text).take(*left as usize).map(str::len).sum();
    text.truncate(bytes);
    *left = 0;
    (text, true)
}

/// The tokens of a text that it owns.
pub(super) struct Pieces {
    text: String,
    at: usize,
}

impl Pieces {
    /// Of no text there are none.
    pub(super) fn of(text: Option<String>) -> Self {
        let text = text.unwrap_or_default();
        Self { text, at: 0 }
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let piece = split(&self.text[self.at..]).next()?.to_owned();
        self.at += piece.len();
        Some(piece)
    }
}
