//! A client of streamed chat completions that notes when each token came.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

/// No answer takes longer.
const TIMEOUT: Duration = Duration::from_mins(10);

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where to ask.
#[derive(Debug, Clone)]
pub struct Chat {
    agent: Agent,
    /// The base as OpenAI's clients are told it: what `/chat/completions` is appended to.
    url: String,
    model: String,
    /// Of all answers; 0 takes the likeliest tokens.
    temperature: f64,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When each piece of text came: a token, or a few where one was held back.
    pub pieces: Vec<Instant>,
    pub text: String,
    /// Tokens, as the server counts them.
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub completion_tokens: usize,
}

impl Chat {
    #[must_use]
    pub fn new(url: &str, model: &str) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        Self {
            agent,
            url: url.trim_end_matches('/').to_owned(),
            model: model.to_owned(),
            temperature: 0.0,
        }
    }

    /// The same client, whose answers are drawn at a temperature.
    #[must_use]
    pub fn at(self, temperature: f64) -> Self {
        Self {
            temperature,
            ..self
        }
    }

    /// The answer to a conversation, of at most `max_tokens`; `heard` is told of each piece as it comes, and ends
    /// the request where it answers false.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub fn ask(
        &self,
        messages: &[Value],
        max_tokens: usize,
        mut heard: impl FnMut(Instant) -> bool,
    ) -> Result<Answer> {
        let body = json!({
            "model": self.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        let response = self
            .agent
            .post(format!("{}/chat/completions", self.url))
            .header("authorization", "Bearer any")
            .header("content-type", "application/json")
            .send(body.to_string())?;
        let mut answer = Answer {
            pieces: Vec::new(),
            text: String::new(),
            prompt_tokens: 0,
            cached_tokens: 0,
            completion_tokens: 0,
        };
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line?;
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            if data == "[DONE]" {
                break;
            }
            let frame: Value = serde_json::from_str(data)?;
            if let Some(text) = frame["choices"][0]["delta"]["content"].as_str()
                && !text.is_empty()
            {
                let now = Instant::now();
                answer.pieces.push(now);
                answer.text.push_str(text);
                if !heard(now) {
                    break;
                }
            }
            let count = |path: &str| frame.pointer(path).and_then(Value::as_u64);
            if let Some(prompt) = count("/usage/prompt_tokens") {
                answer.prompt_tokens = prompt as usize;
                answer.completion_tokens = count("/usage/completion_tokens").unwrap_or(0) as usize;
                let cached = count("/usage/prompt_tokens_details/cached_tokens");
                answer.cached_tokens = cached.unwrap_or(0) as usize;
            }
        }
        Ok(answer)
    }
}

/// One message of a user.
#[must_use]
pub fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}
