//! The shared half of a language model: messages to tokens, and tokens to events.

use std::sync::Arc;

use engine::model::{Admission, StepCompanion, Writer};
use tasks::{Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Format, Prompt, Usage};

use super::Text;
use super::bias::Bias;
use super::detokeniser::Detokeniser;
use super::stop::StopGate;
use super::template::Thinking;
use crate::load::LoadError;

/// The mark of GPT-OSS's channels: thinking, answer and calls in one text.
const CHANNEL: &str = "<|channel|>";

/// Prepares chats for a decoder.
pub struct ChatCompanion {
    text: Text,
    ends: Arc<[u32]>,
    vocabulary: usize,
    window: usize,
}

impl ChatCompanion {
    /// Joins the text side of a checkpoint to a model of so many tokens of vocabulary and positions.
    /// A tokenizer that makes tokens the model does not have is [`LoadError::Corrupt`].
    pub(crate) fn new(text: Text, vocabulary: usize, window: usize) -> Result<Self, LoadError> {
        text.check_vocabulary(vocabulary)?;
        if text.tokenizer.token_to_id(CHANNEL).is_some() {
            return Err(LoadError::Unsupported {
                file: "tokenizer.json".into(),
                detail: format!(
                    "it writes its answers in channels ({CHANNEL}), which are not told apart yet"
                ),
            });
        }
        let ends = text.ends.as_slice().into();
        Ok(Self {
            text,
            ends,
            vocabulary,
            window,
        })
    }

    /// The text side of the checkpoint.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The tokens of a prompt, dressed by the chat template or behind the start token.
    pub fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, Failure> {
        self.dressed(prompt, Thinking::default())
    }

    fn dressed(&self, prompt: &Prompt, thinking: Thinking<'_>) -> Result<Vec<u32>, Failure> {
        match prompt {
            Prompt::Raw(text) => self.text.tokens(text, true),
            Prompt::Messages(messages) => {
                let text = self.text.dress(messages, thinking)?;
                self.text.tokens(&text, false)
            }
        }
    }
}

impl StepCompanion<Chat> for ChatCompanion {
    fn admit(&self, request: ChatRequest) -> Result<Admission<Chat>, Failure> {
        serves(&request)?;
        let thinking = Thinking {
            enabled: request.options.thinking,
            effort: request.options.effort.as_deref(),
        };
        let tokens = self.dressed(&request.prompt, thinking)?;
        if tokens.is_empty() {
            return Err(Failure::BadInput("the prompt is empty".to_owned()));
        }
        let window = self.window.min(request.window as usize);
        let room = window.saturating_sub(tokens.len());
        let max_new_tokens = request.max_tokens.map_or(room, |most| most as usize).max(1);
        let asked = tokens.len() + max_new_tokens;
        if asked > window {
            return Err(Failure::ContextExceeded {
                tokens: asked,
                window,
            });
        }
        let ChatOptions {
            stop, logit_bias, ..
        } = request.options;
        let rules = Bias::rules(logit_bias, self.vocabulary)?;
        Ok(Admission {
            max_new_tokens,
            sampling: request.sampling,
            rules,
            prelude: None,
            writer: Box::new(ChatWriter {
                prompt_tokens: Some(u32::try_from(tokens.len()).unwrap_or(u32::MAX)),
                cached_tokens: 0,
                gate: StopGate::new(stop),
                detokeniser: Detokeniser::new(Arc::clone(&self.text.tokenizer)),
                ends: Arc::clone(&self.ends),
            }),
            tokens,
        })
    }
}

/// Refuses what this model cannot do yet, rather than leaving it out.
fn serves(request: &ChatRequest) -> Result<(), Failure> {
    let ChatOptions {
        format,
        tools,
        tool_choice: _, // says nothing without tools
        stop: _,
        logit_bias: _,
        thinking: _, // told to the template, which knows what the checkpoint can
        effort: _,
        lora,
        judges: _, // their template makes them
    } = &request.options;
    let turns = match &request.prompt {
        Prompt::Raw(_) => &[][..],
        Prompt::Messages(turns) => turns,
    };
    let asked = [
        (*format != Format::Text, "response_format"),
        (!tools.is_empty(), "tools"),
        (lora.is_some(), "lora"),
        (turns.iter().any(|t| !t.images.is_empty()), "images"),
        (turns.iter().any(|t| !t.tool_calls.is_empty()), "tool_calls"),
    ];
    match asked.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, name)) => Err(Failure::Unsupported(format!(
            "{name} is not served by this version of hearth with real weights"
        ))),
        None => Ok(()),
    }
}

/// Turns the tokens of one answer into text.
struct ChatWriter {
    /// Until they are told.
    prompt_tokens: Option<u32>,
    cached_tokens: u32,
    detokeniser: Detokeniser,
    gate: StopGate,
    ends: Arc<[u32]>,
}

impl ChatWriter {
    fn tell_prompt(&mut self, out: &mut Vec<ChatEvent>) {
        if let Some(prompt_tokens) = self.prompt_tokens.take() {
            out.push(ChatEvent::Read {
                prompt_tokens,
                cached_tokens: self.cached_tokens,
            });
        }
    }
}

impl Writer<Chat> for ChatWriter {
    fn begin(&mut self, cached_tokens: u32) {
        self.cached_tokens = cached_tokens;
    }

    fn token(&mut self, token: u32, out: &mut Vec<ChatEvent>) -> Option<Finish> {
        self.tell_prompt(out);
        if self.ends.contains(&token) {
            return Some(Finish::Stop);
        }
        tell(self.gate.push(&self.detokeniser.push(token)), out);
        self.gate.is_shut().then_some(Finish::Stop)
    }

    fn finish(&mut self, finish: Finish, usage: Usage, out: &mut Vec<ChatEvent>) {
        self.tell_prompt(out);
        tell(self.gate.push(&self.detokeniser.finish()), out);
        tell(self.gate.finish(), out);
        out.push(ChatEvent::Done { finish, usage });
    }
}

fn tell(text: String, out: &mut Vec<ChatEvent>) {
    if !text.is_empty() {
        out.push(ChatEvent::Text(text));
    }
}
