//! The shared half of a language model: messages to tokens, and tokens to events.

use std::sync::Arc;

use engine::model::{Admission, StepCompanion, Writer};
use tasks::{Chat, ChatEvent, ChatRequest, Failure, Finish, Prompt, Usage};

use super::Text;
use super::detokeniser::Detokeniser;
use crate::load::LoadError;

/// Prepares chats for a decoder.
pub struct ChatCompanion {
    text: Text,
    ends: Arc<[u32]>,
    window: usize,
}

impl ChatCompanion {
    /// Joins the text side of a checkpoint to a model of so many tokens of vocabulary and positions.
    /// A tokenizer that makes tokens the model does not have is [`LoadError::Corrupt`].
    pub(crate) fn new(text: Text, vocabulary: usize, window: usize) -> Result<Self, LoadError> {
        text.check_vocabulary(vocabulary)?;
        let ends = text.ends.as_slice().into();
        Ok(Self { text, ends, window })
    }

    /// The text side of the checkpoint.
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The tokens of a prompt, dressed by the chat template or behind the start token.
    pub fn tokens(&self, prompt: &Prompt) -> Result<Vec<u32>, Failure> {
        match prompt {
            Prompt::Raw(text) => self.text.tokens(text, true),
            Prompt::Messages(messages) => self.text.tokens(&self.text.render(messages)?, false),
        }
    }
}

impl StepCompanion<Chat> for ChatCompanion {
    fn admit(&self, request: ChatRequest) -> Result<Admission<Chat>, Failure> {
        let tokens = self.tokens(&request.prompt)?;
        if tokens.is_empty() {
            return Err(Failure::BadInput("the prompt is empty".to_owned()));
        }
        let max_new_tokens = (request.max_tokens as usize).max(1);
        let window = self.window.min(request.window as usize);
        let asked = tokens.len() + max_new_tokens;
        if asked > window {
            return Err(Failure::ContextExceeded {
                tokens: asked,
                window,
            });
        }
        Ok(Admission {
            tokens,
            max_new_tokens,
            sampling: request.sampling,
            rules: None,
            prelude: None,
            writer: Box::new(ChatWriter {
                detokeniser: Detokeniser::new(Arc::clone(&self.text.tokenizer)),
                ends: Arc::clone(&self.ends),
            }),
        })
    }
}

/// Turns the tokens of one answer into text.
struct ChatWriter {
    detokeniser: Detokeniser,
    ends: Arc<[u32]>,
}

impl Writer<Chat> for ChatWriter {
    fn token(&mut self, token: u32, out: &mut Vec<ChatEvent>) -> Option<Finish> {
        if self.ends.contains(&token) {
            return Some(Finish::Stop);
        }
        tell(self.detokeniser.push(token), out);
        None
    }

    fn finish(&mut self, finish: Finish, usage: Usage, out: &mut Vec<ChatEvent>) {
        tell(self.detokeniser.finish(), out);
        out.push(ChatEvent::Done { finish, usage });
    }
}

fn tell(text: String, out: &mut Vec<ChatEvent>) {
    if !text.is_empty() {
        out.push(ChatEvent::Text(text));
    }
}
