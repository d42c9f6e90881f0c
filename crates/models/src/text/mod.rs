//! The text side of a checkpoint: tokenizer, chat template, and the tokens that begin and end.

mod bias;
mod brief;
mod byte_text;
mod clock;
mod companion;
mod detokeniser;
mod dialect;
mod gguf_tokenizer;
mod grammar;
mod logprobs;
mod python_json;
mod spelling;
mod stop;
mod template;
mod tokenizer;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use serde::Deserialize;
use tasks::{Failure, Message, Tool};

pub use companion::ChatCompanion;
pub(crate) use tokenizer::{Tokenizer, most_token, parse_tokenizer};

use crate::gguf::Gguf;
use crate::load::{Files, JSON_MAX_BYTES, LoadError};
use dialect::{Dialect, THOUGHT_BEGINS, harmony, taught};
use template::{Marks, Template, Thinking};

const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
/// The largest chat template file, in bytes.
const TEMPLATE_MAX_BYTES: u64 = 1 << 20;

/// Tokens that end a turn in the families served here, whether or not the checkpoint says so:
/// many name only one of the two or three that their models use.
const TURN_ENDS: [&str; 7] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
    "<|end|>",
];

/// The text side of a checkpoint.
pub struct Text {
    pub(crate) tokenizer: Arc<Tokenizer>,
    template: Option<Template>,
    /// The template for requests with tools, where it is another.
    tool_template: Option<Template>,
    /// It was told that tools are described in words.
    told: Once,
    /// Put before raw prompts.
    start: Option<u32>,
    /// Tokens that end an answer.
    pub(crate) ends: Vec<u32>,
    /// The file to blame for the tokenizer.
    file: PathBuf,
}

/// What a checkpoint says about its tokens, wherever it says it.
#[derive(Default)]
struct Notes {
    start: Option<u32>,
    starts: Option<bool>,
    ends: Vec<u32>,
    marks: Marks,
    template: Option<String>,
    tool_template: Option<String>,
}

impl Text {
    /// Reads `tokenizer.json`, and what stands in `tokenizer_config.json`, `chat_template.jinja`,
    /// `config.json` and `generation_config.json` where they are there.
    pub(crate) fn from_files(files: &Files) -> Result<Self, LoadError> {
        let tokenizer = read_tokenizer(files)?;
        let notes = Notes::from_files(files, &tokenizer)?;
        Self::join(tokenizer, notes, files.path(TOKENIZER))
    }

    /// Reads the metadata of a GGUF file; a `tokenizer.json` or `tokenizer_config.json` beside it
    /// comes first.
    pub(crate) fn from_gguf(files: &Files, gguf: &Gguf) -> Result<Self, LoadError> {
        let (tokenizer, file) = if files.has(TOKENIZER) {
            (read_tokenizer(files)?, files.path(TOKENIZER))
        } else {
            (gguf_tokenizer::tokenizer(gguf)?, gguf.file().to_path_buf())
        };
        let notes = Notes::from_files(files, &tokenizer)?.or(Notes::from_gguf(gguf, &tokenizer)?);
        Self::join(tokenizer, notes, file)
    }

    fn join(tokenizer: Tokenizer, notes: Notes, file: PathBuf) -> Result<Self, LoadError> {
        let template = |source: Option<String>| match source {
            Some(source) => {
                let template = Template::new(source, notes.marks.clone());
                template
                    .map(Some)
                    .map_err(|detail| LoadError::unsupported(&file, detail))
            }
            None => Ok(None),
        };
        let tool_template = template(notes.tool_template)?;
        let template = template(notes.template)?;
        // What a tokenizer puts before an empty text is its start token.
        let probed = tokenizer
            .encode_fast("", true)
            .ok()
            .and_then(|encoding| encoding.get_ids().first().copied());
        let start = match notes.starts {
            Some(true) => probed.or(notes.start),
            Some(false) => None,
            None => probed.filter(|token| notes.start.is_none_or(|start| start == *token)),
        };
        let known = TURN_ENDS
            .iter()
            .filter_map(|text| tokenizer.token_to_id(text));
        let mut ends: BTreeSet<u32> = notes.ends.into_iter().chain(known).collect();
        if let Some(tokens) = harmony::Tokens::of(&tokenizer) {
            ends = tokens.ends(&tokenizer, ends);
        }
        let ends = ends.into_iter().collect();
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            template,
            tool_template,
            told: Once::new(),
            start,
            ends,
            file,
        })
    }

    /// The tokens of a text, with the start token before it where `raw` and the model has one.
    /// Special tokens written out in the text are taken as such.
    pub fn tokens(&self, text: &str, raw: bool) -> Result<Vec<u32>, Failure> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| {
            Failure::BadInput(format!("the text cannot be made into tokens: {error}"))
        })?;
        Ok(self
            .start
            .filter(|_| raw)
            .into_iter()
            .chain(encoding.get_ids().iter().copied())
            .collect())
    }

    /// Dresses the turns of a conversation.
    pub fn render(&self, messages: &[Message]) -> Result<String, Failure> {
        self.dress(messages, &[], Thinking::default())
    }

    /// The same with tools, saying whether the model is to think.
    pub(crate) fn dress(
        &self,
        messages: &[Message],
        tools: &[Tool],
        thinking: Thinking<'_>,
    ) -> Result<String, Failure> {
        let template = self.template_for(tools).ok_or_else(|| {
            Failure::BadInput(
                "this checkpoint has no chat template; send a prompt instead of messages"
                    .to_owned(),
            )
        })?;
        if self.dialect() == Dialect::Harmony {
            let turns = harmony::Turns::of(messages, tools)?;
            let rendered = template.render(&turns.messages, &turns.tools, thinking)?;
            return Ok(turns.put(rendered));
        }
        let has_tools = |turn: &Message| turn.role == "tool" || !turn.tool_calls.is_empty();
        let speaks_of_tools = !tools.is_empty() || messages.iter().any(has_tools);
        if !speaks_of_tools || template.knows_tools() {
            return template.render(messages, tools, thinking);
        }
        let dialect = self.dialect();
        self.told.call_once(|| {
            tracing::info!(
                "the chat template of {} knows no tools: they are described in a system turn, and calls are read as \
                 {dialect:?} writes them",
                self.file.display()
            );
        });
        let turns = taught::turns(messages, tools, dialect);
        let rendered = template.render(&turns, &[], thinking);
        match rendered {
            Err(Failure::BadInput(_)) => {
                template.render(&taught::without_system(turns), &[], thinking)
            }
            rendered => rendered,
        }
    }

    fn template_for(&self, tools: &[Tool]) -> Option<&Template> {
        let own = self.tool_template.as_ref().filter(|_| !tools.is_empty());
        own.or(self.template.as_ref())
    }

    /// How this checkpoint writes calls of tools.
    fn dialect(&self) -> Dialect {
        let template = self.tool_template.as_ref().or(self.template.as_ref());
        Dialect::of(template.map_or("", Template::source))
    }

    /// Whether this checkpoint thinks before it answers, in so many words.
    pub(crate) fn thinks(&self) -> bool {
        let template = self.template.as_ref().map_or("", Template::source);
        template.contains(THOUGHT_BEGINS) || self.tokenizer.token_to_id(THOUGHT_BEGINS).is_some()
    }

    /// Refuses a tokenizer with tokens that the model does not have.
    fn check_vocabulary(&self, vocabulary: usize) -> Result<(), LoadError> {
        match most_token(&self.tokenizer) {
            None => Err(LoadError::corrupt(
                &self.file,
                "its tokenizer has no tokens",
            )),
            Some(most) if most as usize >= vocabulary => Err(LoadError::corrupt(
                &self.file,
                format!("it has a token {most}, but the model's vocabulary is {vocabulary}"),
            )),
            Some(_) => Ok(()),
        }
    }
}

impl Notes {
    fn from_files(files: &Files, tokenizer: &Tokenizer) -> Result<Self, LoadError> {
        let mut notes = Self::default();
        if files.has(TOKENIZER_CONFIG) {
            let config: TokenizerConfig = files.json(TOKENIZER_CONFIG)?;
            let bos = config.bos_token.map(Mark::text);
            let eos = config.eos_token.map(Mark::text);
            notes.start = bos.as_deref().and_then(|text| tokenizer.token_to_id(text));
            notes.starts = config.add_bos_token;
            notes
                .ends
                .extend(eos.as_deref().and_then(|text| tokenizer.token_to_id(text)));
            notes.marks = Marks {
                bos: bos.unwrap_or_default(),
                eos: eos.unwrap_or_default(),
            };
            let templates = config.chat_template.map(RawTemplate::texts);
            (notes.template, notes.tool_template) = templates.unwrap_or_default();
        }
        if files.has(TEMPLATE) {
            let bytes = files.read(TEMPLATE, TEMPLATE_MAX_BYTES)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| LoadError::corrupt(&files.path(TEMPLATE), "it is no UTF-8"))?;
            notes.template = Some(text);
        }
        for name in ["config.json", "generation_config.json"] {
            if files.has(name) {
                let ends: EndTokens = files.json(name)?;
                notes
                    .ends
                    .extend(ends.eos_token_id.map(Ids::list).unwrap_or_default());
            }
        }
        Ok(notes)
    }

    fn from_gguf(gguf: &Gguf, tokenizer: &Tokenizer) -> Result<Self, LoadError> {
        let id = |key: &str| {
            Ok(gguf
                .integer(&format!("tokenizer.ggml.{key}_token_id"))?
                .map(|id| id as u32))
        };
        let (bos, eos) = (id("bos")?, id("eos")?);
        let text = |id: Option<u32>| {
            id.and_then(|id| tokenizer.id_to_token(id))
                .unwrap_or_default()
        };
        let ends = [eos, id("eot")?, id("eom")?]
            .into_iter()
            .flatten()
            .collect();
        let starts = match gguf.boolean("tokenizer.ggml.add_bos_token")? {
            Some(starts) => starts,
            // llama.cpp's defaults: SentencePiece and Llama 3 begin with a start token.
            None => {
                gguf.text("tokenizer.ggml.model")?.as_deref() == Some("llama")
                    || gguf
                        .text("tokenizer.ggml.pre")?
                        .is_some_and(|pre| pre.starts_with("llama"))
            }
        };
        Ok(Self {
            start: bos,
            starts: Some(starts),
            ends,
            marks: Marks {
                bos: text(bos),
                eos: text(eos),
            },
            template: gguf.text("tokenizer.chat_template")?.map(Cow::into_owned),
            tool_template: gguf
                .text("tokenizer.chat_template.tool_use")?
                .map(Cow::into_owned),
        })
    }

    /// Fills what is missing here from `other`; end tokens of both count.
    fn or(mut self, other: Self) -> Self {
        self.start = self.start.or(other.start);
        self.starts = self.starts.or(other.starts);
        self.ends.extend(other.ends);
        if self.marks.bos.is_empty() {
            self.marks.bos = other.marks.bos;
        }
        if self.marks.eos.is_empty() {
            self.marks.eos = other.marks.eos;
        }
        self.template = self.template.or(other.template);
        self.tool_template = self.tool_template.or(other.tool_template);
        self
    }
}

/// Reads `tokenizer.json`. Padding and truncation written in it are left out: each model has its own.
pub(crate) fn read_tokenizer(files: &Files) -> Result<Tokenizer, LoadError> {
    let (path, bytes) = (
        files.path(TOKENIZER),
        files.read(TOKENIZER, JSON_MAX_BYTES)?,
    );
    parse_tokenizer(&path, &bytes)
}

#[derive(Deserialize)]
struct TokenizerConfig {
    bos_token: Option<Mark>,
    eos_token: Option<Mark>,
    add_bos_token: Option<bool>,
    chat_template: Option<RawTemplate>,
}

/// A special token: its text, or an object that describes it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Mark {
    Text(String),
    Described { content: String },
}

impl Mark {
    fn text(self) -> String {
        match self {
            Self::Text(text) | Self::Described { content: text } => text,
        }
    }
}

/// One template, or several by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawTemplate {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl RawTemplate {
    /// The usual one, and the one for tools.
    fn texts(self) -> (Option<String>, Option<String>) {
        match self {
            Self::One(text) => (Some(text), None),
            Self::Named(named) => {
                let find = |name: &str| {
                    let found = named.iter().find(|one| one.name == name);
                    found.map(|one| one.template.clone())
                };
                (find("default"), find("tool_use"))
            }
        }
    }
}

#[derive(Deserialize)]
struct EndTokens {
    eos_token_id: Option<Ids>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    fn list(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}
