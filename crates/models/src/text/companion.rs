//! The shared half of a language model: messages to tokens, and tokens to events.

use std::sync::{Arc, OnceLock};

use engine::Likelihood;
use engine::model::{Admission, LogitRules, Prelude, StepCompanion, Writer};
use tasks::{
    Chat, ChatEvent, ChatOptions, ChatRequest, Failure, Finish, Format, Prompt, Tool, ToolChoice,
    Usage,
};

use super::Text;
use super::bias::Bias;
use super::brief;
use super::detokeniser::Detokeniser;
use super::dialect::harmony::{ANSWER_BEGINS, Channels, Tokens};
use super::dialect::{Calls, Dialect, Offer, Splitter, THOUGHT_BEGINS, THOUGHT_ENDS};
use super::grammar::{self, ChannelGuide, Grammar, Guide, Hold, Machine, Thought};
use super::logprobs::Logprobs;
use super::stop::StopGate;
use super::template::Thinking;
use crate::decoder::Shelf;
use crate::load::LoadError;

/// Prepares chats for a decoder.
pub struct ChatCompanion {
    text: Text,
    ends: Arc<[u32]>,
    vocabulary: usize,
    window: usize,
    dialect: Dialect,
    thinks: bool,
    /// The marks of channels, where answers come in some.
    channels: Option<Tokens>,
    /// Made when it is first needed, which most never are.
    machine: OnceLock<Result<Arc<Machine>, String>>,
    /// Special tokens whose text counts, where tools are offered and where not.
    marks: [Arc<[(u32, String)]>; 2],
    /// Where the model takes adapters.
    adapters: Option<Shelf>,
}

/// A prompt ready for the model.
struct Dressed {
    tokens: Vec<u32>,
    /// Whether the answer may begin with thinking, or has begun with it.
    thought: Thought,
    thinks: bool,
}

impl ChatCompanion {
    /// Joins the text side of a checkpoint to a model of so many tokens of vocabulary and positions.
    /// A tokenizer that makes tokens the model does not have is [`LoadError::Corrupt`].
    pub(crate) fn new(text: Text, vocabulary: usize, window: usize) -> Result<Self, LoadError> {
        text.check_vocabulary(vocabulary)?;
        let ends = text.ends.as_slice().into();
        let (dialect, thinks) = (text.dialect(), text.thinks());
        let channels = Tokens::of(&text.tokenizer);
        if channels.is_some() != (dialect == Dialect::Harmony) {
            return Err(LoadError::Unsupported {
                file: "tokenizer.json".into(),
                detail: "its chat template and its tokens do not agree on whether answers come in channels \
                         (<|channel|>)"
                    .into(),
            });
        }
        let thoughts: &[&str] = if thinks {
            &[THOUGHT_BEGINS, THOUGHT_ENDS]
        } else {
            &[]
        };
        let marks = [thoughts.to_vec(), [thoughts, dialect.special()].concat()];
        let marks = marks.map(|marks| {
            let mark = |mark: &str| Some((text.tokenizer.token_to_id(mark)?, mark.to_owned()));
            marks.into_iter().filter_map(mark).collect()
        });
        Ok(Self {
            ends,
            vocabulary,
            window,
            dialect,
            thinks,
            channels,
            machine: OnceLock::new(),
            marks,
            adapters: None,
            text,
        })
    }

    /// The same for a model that takes the adapters of this shelf.
    pub(crate) fn with_adapters(self, adapters: Option<Shelf>) -> Self {
        Self { adapters, ..self }
    }

    /// The text side of the checkpoint.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The tokens of a prompt, dressed by the chat template or behind the start token.
    pub fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, Failure> {
        let dressed = self.dressed(prompt, &[], Thinking::default())?;
        Ok(dressed.tokens)
    }

    fn dressed(
        &self,
        prompt: &Prompt,
        tools: &[Tool],
        thinking: Thinking<'_>,
    ) -> Result<Dressed, Failure> {
        let messages = match prompt {
            Prompt::Raw(text) => {
                return Ok(Dressed {
                    tokens: self.text.tokens(text, true)?,
                    thought: Thought::No,
                    thinks: false,
                });
            }
            Prompt::Messages(messages) => messages,
        };
        let text = self.text.dress(messages, tools, thinking)?;
        let end = text.trim_end();
        let thinks = self.thinks && !end.ends_with(THOUGHT_ENDS);
        let first = self.text.tokenizer.token_to_id(THOUGHT_BEGINS);
        let thought = match first.filter(|_| thinks) {
            _ if thinks && end.ends_with(THOUGHT_BEGINS) => Thought::Begun,
            Some(token) if thinking.enabled != Some(false) => Thought::May(token),
            _ => Thought::No,
        };
        Ok(Dressed {
            tokens: self.text.tokens(&text, false)?,
            thought,
            thinks,
        })
    }

    fn shelf(&self) -> Result<&Shelf, Failure> {
        self.adapters.as_ref().ok_or_else(|| {
            Failure::Unsupported(
                "lora is not served by this version of hearth with these weights".to_owned(),
            )
        })
    }

    fn machine(&self) -> Result<Arc<Machine>, Failure> {
        let machine = self.machine.get_or_init(|| {
            let machine = Machine::new(&self.text.tokenizer, &self.ends, self.vocabulary);
            machine.map(Arc::new)
        });
        machine.clone().map_err(Failure::JsonModeUnmet)
    }

    /// What the tokens of an answer are held to.
    fn rules(
        &self,
        options: &ChatOptions,
        thought: Thought,
        bias: Option<Bias>,
    ) -> Result<Option<Box<dyn LogitRules>>, Failure> {
        let offered = offered(options);
        let calls = Calls {
            dialect: self.dialect,
            tools: offered,
            choice: &options.tool_choice,
            one_call: options.one_call,
            special: &|mark| self.special(mark),
        };
        let answer = match &options.format {
            _ if calls.are_required() => None,
            Format::Text => None,
            Format::JsonObject => Some(serde_json::json!({ "type": "object" })),
            Format::JsonSchema(schema) => {
                let schema = grammar::checked(schema);
                Some(schema.map_err(|refused| Failure::JsonModeUnmet(refused.to_string()))?)
            }
        };
        let is_lazy = answer.is_none() && !calls.are_required();
        if is_lazy && offered.is_empty() {
            return Ok(bias.map(|bias| Box::new(bias) as _));
        }
        if let Some(tokens) = self.channels {
            return self.channel_rules(tokens, answer.as_ref(), &calls, bias);
        }
        let mut starts = Vec::new();
        let mut rules = Vec::new();
        if let Some(schema) = &answer {
            starts.push("answer");
            rules.push(format!("answer: {}", grammar::rule(schema)));
        }
        if is_lazy {
            starts.push("calls");
            rules.push(calls.begun()?);
        } else if calls.are_required() || !offered.is_empty() {
            starts.push("calls");
            rules.push(calls.whole()?);
        }
        // Thinking ends with a line or two.
        let gap = if thought == Thought::No || is_lazy {
            ""
        } else {
            "GAP? "
        };
        let starts: Vec<_> = starts.iter().map(|start| format!("{gap}{start}")).collect();
        let grammar = format!(
            "start: {}\n{}\nGAP: /[ \\n]{{1,4}}/\n",
            starts.join(" | "),
            rules.join("\n")
        );
        let machine = self.machine()?;
        let Some(grammar) = read(&machine, grammar, is_lazy, answer.is_some())? else {
            return Ok(bias.map(|bias| Box::new(bias) as _));
        };
        let marks = if is_lazy {
            self.dialect.marks()
        } else {
            Vec::new()
        };
        let guide = Guide::new(machine, grammar, marks, thought, bias);
        Ok(Some(Box::new(guide)))
    }

    /// The same for answers in channels.
    fn channel_rules(
        &self,
        tokens: Tokens,
        answer: Option<&serde_json::Value>,
        calls: &Calls<'_>,
        bias: Option<Bias>,
    ) -> Result<Option<Box<dyn LogitRules>>, Failure> {
        let machine = self.machine()?;
        let read = |grammar, is_lazy| read(&machine, grammar, is_lazy, answer.is_some());
        let hold = if answer.is_some() || calls.are_required() {
            let may_call = calls.are_required() || !calls.tools.is_empty();
            let [first, later] = tokens.messages(answer, may_call.then_some(calls))?;
            let (first, later) = (read(first, false)?, read(later, false)?);
            first.zip(later).map(|(first, later)| Hold::Messages {
                first: Box::new(first),
                later: Box::new(later),
            })
        } else {
            let names = calls.tools.iter().map(|tool| tool.name.clone()).collect();
            let call = read(tokens.begun(calls)?, true)?;
            call.map(|call| Hold::Arguments {
                call: Box::new(call),
                names,
            })
        };
        let Some(hold) = hold else {
            return Ok(bias.map(|bias| Box::new(bias) as _));
        };
        let marks = (tokens, Arc::clone(&self.ends));
        let guide = ChannelGuide::new(Arc::clone(&machine), marks, hold, bias);
        Ok(Some(Box::new(guide)))
    }

    /// The id of a special token by its text.
    fn special(&self, mark: &str) -> Option<u32> {
        let id = self.text.tokenizer.token_to_id(mark)?;
        let added = self.text.tokenizer.get_added_tokens_decoder();
        added.get(&id).filter(|added| added.special).map(|_| id)
    }
}

/// A grammar that was read; none for that of calls which nobody asked for, where it cannot be held to.
fn read(
    machine: &Machine,
    grammar: String,
    is_lazy: bool,
    has_schema: bool,
) -> Result<Option<Grammar>, Failure> {
    match machine.grammar(grammar) {
        Ok(grammar) => Ok(Some(grammar)),
        Err(Failure::JsonModeUnmet(why)) if is_lazy => {
            tracing::warn!("arguments of tools are not held to their schemas: {why}");
            Ok(None)
        }
        Err(Failure::JsonModeUnmet(why)) if !has_schema => Err(Failure::BadInput(format!(
            "the parameters of the tools cannot be held to: {why}"
        ))),
        Err(failure) => Err(failure),
    }
}

/// The tools that may be called.
fn offered(options: &ChatOptions) -> &[Tool] {
    match options.tool_choice {
        ToolChoice::None => &[],
        _ => &options.tools,
    }
}

impl StepCompanion<Chat> for ChatCompanion {
    fn is_brief(&self, request: &ChatRequest) -> bool {
        brief::is_brief(request)
    }

    fn admit(&self, request: ChatRequest) -> Result<Admission<Chat>, Failure> {
        serves(&request)?;
        let thinking = Thinking {
            enabled: request.options.thinking,
            effort: request.options.effort.as_deref(),
        };
        let tools = offered(&request.options);
        let dressed = self.dressed(&request.prompt, tools, thinking)?;
        let Dressed {
            tokens,
            thought,
            thinks,
        } = dressed;
        // A raw prompt is a text, unless it ends as the template's prompts do.
        let is_raw = matches!(&request.prompt, Prompt::Raw(text) if !text.ends_with(ANSWER_BEGINS));
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
        let names: Vec<_> = tools.iter().map(|tool| tool.name.clone()).collect();
        let mut options = request.options;
        let bias = Bias::new(std::mem::take(&mut options.logit_bias), self.vocabulary)?;
        let rules = self.rules(&options, thought, bias)?;
        let adapter = match &options.lora {
            None => None,
            Some(lora) => Some(self.shelf()?.take(lora)?),
        };
        let marks = Arc::clone(&self.marks[usize::from(!names.is_empty())]);
        let gate = StopGate::new(std::mem::take(&mut options.stop));
        let parts = if let Some(tokens) = self.channels {
            Parts::Channels(tokens, Channels::new(names, gate, is_raw))
        } else {
            let calls = Offer::of(self.dialect, offered(&options));
            let splitter = Splitter::new(calls, thinks, thought == Thought::Begun);
            Parts::Marked(gate, splitter)
        };
        Ok(Admission {
            max_new_tokens,
            sampling: request.sampling,
            logprobs: options.logprobs.map(|count| count as usize),
            rules,
            adapter: adapter.as_ref().map(|adapter| adapter.id),
            prelude: adapter.map(|adapter| Box::new(adapter) as Prelude),
            writer: Box::new(ChatWriter {
                prompt_tokens: Some(u32::try_from(tokens.len()).unwrap_or(u32::MAX)),
                cached_tokens: 0,
                detokeniser: Detokeniser::new(Arc::clone(&self.text.tokenizer), marks),
                parts,
                one_call: options.one_call,
                logprobs: options
                    .logprobs
                    .map(|_| Logprobs::new(&self.text.tokenizer)),
                ends: Arc::clone(&self.ends),
            }),
            tokens,
        })
    }
}

/// Refuses what this model cannot do yet, rather than leaving it out.
fn serves(request: &ChatRequest) -> Result<(), Failure> {
    let ChatOptions {
        format: _,
        tools,
        tool_choice: _, // says nothing without tools
        one_call: _,
        stop: _,
        logit_bias: _,
        logprobs: _,
        thinking: _, // told to the template, which knows what the checkpoint can
        effort: _,
        lora: _,   // the shelf knows
        judges: _, // their template makes them
    } = &request.options;
    let (turns, is_raw) = match &request.prompt {
        Prompt::Raw(_) => (&[][..], true),
        Prompt::Messages(turns) => (turns.as_slice(), false),
    };
    let asked = [
        (is_raw && !tools.is_empty(), "tools with a raw prompt"),
        (turns.iter().any(|t| !t.images.is_empty()), "images"),
    ];
    match asked.iter().find(|(is_asked, _)| *is_asked) {
        Some((_, name)) => Err(Failure::Unsupported(format!(
            "{name} is not served by this version of hearth with real weights"
        ))),
        None => Ok(()),
    }
}

/// Turns the tokens of one answer into thoughts, text and calls.
struct ChatWriter {
    /// Until they are told.
    prompt_tokens: Option<u32>,
    cached_tokens: u32,
    detokeniser: Detokeniser,
    parts: Parts,
    one_call: bool,
    logprobs: Option<Logprobs>,
    ends: Arc<[u32]>,
}

/// Who tells the parts of an answer apart.
enum Parts {
    /// By marks in the text.
    Marked(StopGate, Splitter),
    /// By tokens around the text.
    Channels(Tokens, Channels),
}

impl Parts {
    fn told_calls(&self) -> usize {
        match self {
            Self::Marked(_, splitter) => splitter.told_calls(),
            Self::Channels(_, channels) => channels.told_calls(),
        }
    }

    /// A text came that ends the answer.
    fn are_shut(&self) -> bool {
        match self {
            Self::Marked(gate, _) => gate.is_shut(),
            Self::Channels(_, channels) => channels.is_shut(),
        }
    }

    /// Bytes of text that wait for the end of a call.
    fn open_bytes(&self) -> usize {
        match self {
            Self::Marked(_, splitter) => splitter.open_bytes(),
            Self::Channels(_, channels) => channels.open_bytes(),
        }
    }

    /// What a token comes to, and the bytes of text that no text of stop holds back now.
    fn token(
        &mut self,
        token: u32,
        detokeniser: &mut Detokeniser,
        out: &mut Vec<ChatEvent>,
    ) -> (String, usize) {
        if let Self::Channels(tokens, channels) = self
            && let Some(mark) = tokens.mark(token)
        {
            let piece = detokeniser.finish();
            channels.push(&piece, out);
            channels.mark(mark, out);
            (piece, channels.take_passed())
        } else {
            let piece = detokeniser.push(token);
            let passed = self.push(&piece, out);
            (piece, passed)
        }
    }

    fn push(&mut self, text: &str, out: &mut Vec<ChatEvent>) -> usize {
        match self {
            Self::Marked(gate, splitter) => {
                let text = gate.push(text);
                splitter.push(&text, out);
                text.len()
            }
            Self::Channels(_, channels) => {
                channels.push(text, out);
                channels.take_passed()
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<ChatEvent>) -> usize {
        match self {
            Self::Marked(gate, splitter) => {
                let held = gate.finish();
                splitter.push(&held, out);
                splitter.finish(out);
                held.len()
            }
            Self::Channels(_, channels) => {
                channels.finish(out);
                channels.take_passed()
            }
        }
    }
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

    fn likelihood(&mut self, likelihood: Likelihood) {
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.token(&likelihood);
        }
    }

    fn token(&mut self, token: u32, out: &mut Vec<ChatEvent>) -> Option<Finish> {
        self.tell_prompt(out);
        if self.ends.contains(&token) {
            if let Some(logprobs) = &mut self.logprobs {
                logprobs.end_token();
            }
            return Some(Finish::Stop);
        }
        let first = out.len();
        let (piece, passed) = self.parts.token(token, &mut self.detokeniser, out);
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.text(&piece);
            logprobs.told(passed);
            logprobs.tell(self.parts.open_bytes(), first, out);
        }
        if self.one_call && self.parts.told_calls() > 0 {
            return Some(Finish::ToolCalls);
        }
        self.parts.are_shut().then_some(Finish::Stop)
    }

    fn finish(&mut self, finish: Finish, usage: Usage, out: &mut Vec<ChatEvent>) {
        self.tell_prompt(out);
        let first = out.len();
        let piece = self.detokeniser.finish();
        let passed = self.parts.push(&piece, out) + self.parts.finish(out);
        if let Some(logprobs) = &mut self.logprobs {
            logprobs.text(&piece);
            logprobs.told(passed);
            logprobs.finish(self.parts.are_shut(), first, out);
        }
        let finish = match finish {
            Finish::Stop if self.parts.told_calls() > 0 => Finish::ToolCalls,
            finish => finish,
        };
        out.push(ChatEvent::Done { finish, usage });
    }
}
