//! Text generation.

use std::path::PathBuf;

use crate::{Json, Task, Tool, ToolCall, ToolChoice};

/// Text generation: a prompt in, text piece by piece out.
pub struct Chat;

impl Task for Chat {
    type Request = ChatRequest;
    type Event = ChatEvent;
    const NAME: &'static str = "Text Generation";
}

/// What to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Text as it is; the tokenizer adds only its start token, where the model has one.
    Raw(String),
    /// Turns of a conversation, dressed by the checkpoint's own chat template.
    Messages(Vec<Message>),
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or whatever the template understands.
    pub role: String,
    /// The text of the turn.
    pub content: String,
    /// Encoded images (PNG, JPEG, ...) that belong to the turn, as whole files.
    pub images: Vec<Vec<u8>>,
    /// Tools that the assistant called in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// What the assistant thought before it said or called this, where that was kept.
    pub reasoning: Option<String>,
    /// Which call a turn of the role `tool` answers.
    pub tool_call_id: Option<String>,
    /// Who speaks, or which tool.
    pub name: Option<String>,
}

impl Message {
    /// A turn of text only.
    pub fn text(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: content.into(),
            images: Vec::new(),
            tool_calls: Vec::new(),
            reasoning: None,
            tool_call_id: None,
            name: None,
        }
    }
}

/// How the next token is chosen. Ranges were checked at the door.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 chooses the likeliest token; more spreads the choice.
    pub temperature: f32,
    /// Keep the likeliest tokens whose probabilities sum to this, within 0 to 1.
    pub top_p: Option<f32>,
    /// Keep this many of the likeliest tokens; at least 1.
    pub top_k: Option<u32>,
    /// The same seed with the same request gives the same tokens; without one each request differs.
    pub seed: Option<u64>,
    /// Divides (or multiplies, below zero) the logits of tokens seen so far; 1 changes nothing
    /// (CTRL, Keskar et al. 2019, section 4.1).
    pub repetition_penalty: Option<f32>,
    /// Subtracted from a logit for each time its token was generated.
    pub frequency_penalty: Option<f32>,
    /// Subtracted once from the logit of each token that was generated.
    pub presence_penalty: Option<f32>,
}

impl Sampling {
    /// The likeliest token at each step.
    pub fn greedy() -> Self {
        Self {
            temperature: 0.0,
            top_p: None,
            top_k: None,
            seed: None,
            repetition_penalty: None,
            frequency_penalty: None,
            presence_penalty: None,
        }
    }
}

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Some JSON object.
    JsonObject,
    /// JSON that satisfies this JSON Schema.
    JsonSchema(Json),
}

/// A LoRA adapter (Hu et al. 2021).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lora {
    /// Its name or id, as the request has it.
    pub name: String,
    /// Where its two files are, in PEFT's layout; they never change. `None`: one of the service's own.
    pub folder: Option<PathBuf>,
}

/// What a request may ask for beyond text. A model that cannot do what is asked refuses it with
/// [`crate::Failure::Unsupported`]; none ignores it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatOptions {
    /// The form of the answer.
    pub format: Format,
    /// Tools that may be called.
    pub tools: Vec<Tool>,
    /// Whether they have to be.
    pub tool_choice: ToolChoice,
    /// At most one is called in an answer.
    pub one_call: bool,
    /// Generation ends before the first of these texts.
    pub stop: Vec<String>,
    /// Added to the logits of tokens, by token id.
    pub logit_bias: Vec<(u32, f32)>,
    /// How likely each token of the answer was is told, with so many of the likeliest in its place.
    pub logprobs: Option<u32>,
    /// Whether the model thinks before it answers, where it can; `None`: its own habit.
    pub thinking: Option<bool>,
    /// The word of `reasoning_effort`, as the model's card knows it.
    pub effort: Option<String>,
    /// An adapter that is added to the model.
    pub lora: Option<Lora>,
    /// The model is one that judges a conversation instead of continuing it (Llama Guard): its answer is `safe`, or
    /// `unsafe` and a line of categories. Real weights do so by their template; those who answer without must be told.
    pub judges: bool,
}

/// A request for text.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// The most tokens to generate; `None`: as many as the window has room for.
    pub max_tokens: Option<u32>,
    /// How to choose them.
    pub sampling: Sampling,
    /// The card's context window in tokens; the effective one is the smaller of it and the weights'.
    pub window: u32,
    /// What is asked for beyond text.
    pub options: ChatOptions,
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended its turn, or a stop text came.
    Stop,
    /// `max_tokens` were generated.
    Length,
    /// The model called tools.
    ToolCalls,
}

/// Tokens counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt, template included.
    pub prompt_tokens: u32,
    /// Tokens generated, the end token not counted.
    pub completion_tokens: u32,
    /// Tokens of the prompt that were in the cache already.
    pub cached_tokens: u32,
}

/// A token and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprob {
    /// What it stands for: text, or a part of a character.
    pub bytes: Box<[u8]>,
    /// The natural logarithm of its probability under the model's own distribution, before anything that a request
    /// does to the choice.
    pub logprob: f32,
}

/// A token of an answer, and the likeliest in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token of the answer.
    pub token: Logprob,
    /// As many as were asked for, the likeliest first.
    pub top: Vec<Logprob>,
}

/// A piece of the answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// The prompt was read. Comes first, from models that tell; [`ChatEvent::Done`] counts again.
    Read {
        /// Tokens of the prompt, template included.
        prompt_tokens: u32,
        /// Tokens of it that were in the cache already.
        cached_tokens: u32,
    },
    /// How likely the tokens of the next piece were, where that was asked for: of text, thinking or a call, or those
    /// that came to no piece before the last event. The end token is not among them, nor is what a stop text cut off.
    Logprobs(Vec<TokenLogprobs>),
    /// More text: whole UTF-8 characters only.
    Text(String),
    /// More of the thinking that precedes the answer.
    Reasoning(String),
    /// A tool is to be called.
    ToolCall(ToolCall),
    /// The last event.
    Done {
        /// Why generation ended.
        finish: Finish,
        /// What was counted.
        usage: Usage,
    },
}
