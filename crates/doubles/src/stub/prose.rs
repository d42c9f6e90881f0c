//! Translation and summarization: texts that say whose they are, and repeat what they were given.

use engine::Answer;
use engine::model::DirectModel;
use tasks::{
    Failure, Summarize, SummarizeRequest, Summary, Translate, TranslateRequest, Translation,
};

use super::tokens::{count, cut, quote};
use super::{Stub, once};

/// Characters of the given text that are repeated.
const QUOTE_MAX_CHARS: usize = 200;
/// Tokens around a text.
const SPECIAL_TOKENS: u32 = 2;

impl DirectModel<Translate> for Stub {
    fn answer(&self, request: TranslateRequest) -> Result<Answer<Translation>, Failure> {
        let TranslateRequest {
            text,
            source,
            target,
        } = request;
        if source.is_empty() || target.is_empty() {
            return Err(Failure::BadInput("a language has no name".into()));
        }
        let quoted = quote(&text, QUOTE_MAX_CHARS);
        let translated = format!("[stub: {source} to {target}] {quoted}");
        Ok(once(Translation {
            prompt_tokens: count(&text).saturating_add(SPECIAL_TOKENS),
            completion_tokens: count(&translated),
            text: translated,
        }))
    }
}

impl DirectModel<Summarize> for Stub {
    fn answer(&self, request: SummarizeRequest) -> Result<Answer<Summary>, Failure> {
        let read = cut(&request.text, SPECIAL_TOKENS, request.window);
        let words = read.text.split_whitespace().count();
        let quoted = quote(read.text, QUOTE_MAX_CHARS);
        let whole = format!("This is a stub's summary of {words} words: {quoted}");
        let summary = cut(&whole, 0, request.max_tokens);
        Ok(once(Summary {
            text: summary.text.to_owned(),
            prompt_tokens: read.tokens,
            completion_tokens: summary.tokens,
            truncated: read.truncated,
        }))
    }
}
