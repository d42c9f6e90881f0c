//! Text generation: every class of inputs and every form of answers.
//!
//! `read` makes a request of the words of `tasks` from a validated input, `write` the answer or the
//! stream from its events; between them there is one way to run it, whatever the form.

mod json_mode;
mod lora;
mod outcome;
mod read;
mod usage;
mod write;

use futures_util::future::try_join_all;
use serde_json::Value;
use tasks::{Chat, ChatRequest, Failure, Finish, Format};

use super::answer::{Answer, Content};
use super::classes::{self, Class};
use super::fields::refuse;
use super::job::{Job, ended_early};
use super::neurons::{self, Cost};
use super::{Call, events};
use crate::errors::Refusal;
use outcome::Outcome;
use write::{Dress, Form};

/// Schema classes whose models speak OpenAI's chat on every surface.
const CHAT_CLASSES: [&str; 2] = ["chat-anyof", "chat-oneof"];
/// The class that also takes inputs of OpenAI's Responses.
const GPT_OSS: &str = "gpt-oss";
/// The class of the moderator.
const GUARD: &str = "llama-guard";
/// What the names of the legacy classes begin with.
const LEGACY_PREFIX: &str = "tg-";

/// A request as it was asked.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // each is a field of the wire
struct Asked {
    request: ChatRequest,
    streams: bool,
    /// Answers that are wanted, each a job of its own; at least one.
    choices: u32,
    /// At most one tool may be called in a turn.
    one_call: bool,
    /// An answer that is not the JSON that was asked for is an error.
    must_be_json: bool,
    /// `stream_options.include_usage`.
    includes_usage: bool,
}

/// What an answer comes to.
type Answered = Result<Answer, Refusal>;

/// Reads a validated input of the run routes; what comes back answers it.
pub(super) fn answer<'a>(
    call: Call<'a>,
    input: &Value,
) -> Result<impl Future<Output = Answered> + use<'a>, Refusal> {
    refuse(input, "requests")?;
    let card = call.card;
    let (asked, form) = match card.schema_class.as_str() {
        class if CHAT_CLASSES.contains(&class) => {
            (read::chat(input, card)?, Form::Chat { is_native: true })
        }
        GPT_OSS if input.get("input").is_some() => {
            let (asked, words) = read::responses(input, card)?;
            (asked, Form::Response(Box::new(words)))
        }
        GUARD => read::guard(input, card)?,
        class if class == GPT_OSS || class.starts_with(LEGACY_PREFIX) => read::legacy(input, card)?,
        other => {
            let text =
                format!("inputs of the class {other} are not served by this version of hearth");
            return Err(Failure::Unsupported(text).into());
        }
    };
    let is_answered = !(asked.streams && card.schema_class == GPT_OSS);
    Ok(async move {
        if is_answered {
            generate(call, asked, form).await
        } else {
            nothing(call)
        }
    })
}

/// The class whose schema judges the inputs of OpenAI's chat route: a model's own where it speaks
/// that dialect anyway, else that of the models which do.
///
/// # Errors
/// [`Failure::Unsupported`] for models that do not chat.
pub(crate) fn chat_class(call: Call<'_>) -> Result<&'static Class, Failure> {
    let own = call.card.schema_class.as_str();
    if CHAT_CLASSES.contains(&own) {
        return call.class();
    }
    let common = CHAT_CLASSES[0];
    if own == GPT_OSS || own == GUARD || own.starts_with(LEGACY_PREFIX) {
        return classes::of(common)
            .ok_or_else(|| Failure::Internal(format!("there is no class {common}")));
    }
    Err(Failure::Unsupported(format!(
        "Chat completions are not supported for model \"{}\"",
        call.card.name
    )))
}

/// Reads a validated input of OpenAI's chat route; what comes back answers it.
pub(crate) fn complete<'a>(
    call: Call<'a>,
    input: &Value,
) -> Result<impl Future<Output = Answered> + use<'a>, Refusal> {
    let asked = read::chat(input, call.card)?;
    let class = call.card.schema_class.as_str();
    let form = if CHAT_CLASSES.contains(&class) || class == GPT_OSS {
        Form::Chat { is_native: false }
    } else {
        Form::Plain { is_native: false }
    };
    Ok(generate(call, asked, form))
}

/// Whether a model answers on OpenAI's responses route.
///
/// # Errors
/// [`Failure::Unsupported`].
pub(crate) fn check_responds(call: Call<'_>) -> Result<(), Failure> {
    if call.card.schema_class == GPT_OSS {
        return Ok(());
    }
    Err(Failure::Unsupported(format!(
        "Responses API is not supported for model \"{}\"",
        call.card.name
    )))
}

/// Reads a validated input of OpenAI's responses route; what comes back answers it.
pub(crate) fn respond<'a>(
    call: Call<'a>,
    input: &Value,
) -> Result<impl Future<Output = Answered> + use<'a>, Refusal> {
    let (asked, words) = read::responses(input, call.card)?;
    if asked.streams {
        let text = "Streaming is not supported on this route";
        return Err(Failure::Unsupported(text.into()).into());
    }
    Ok(generate(call, asked, Form::Response(Box::new(words))))
}

/// What the service answers where gpt-oss is asked to stream on a run route.
fn nothing(call: Call<'_>) -> Answered {
    Ok(Answer {
        content: Content::Json(b"{}".to_vec()),
        served: call.app.engine.served(&call.card.name)?,
        cost: Cost::default(),
        truncated: 0,
    })
}

async fn generate(call: Call<'_>, asked: Asked, form: Form) -> Answered {
    let Call { app, card, .. } = call;
    let Asked {
        mut request,
        streams,
        choices,
        one_call,
        must_be_json,
        includes_usage,
    } = asked;
    if let Some(lora) = &mut request.options.lora {
        lora::find(app, card, lora).await?;
    }
    let wants_json = request.options.format != Format::Text;
    let schema = match &request.options.format {
        Format::JsonSchema(schema) if must_be_json => serde_json::from_str(&schema.0).ok(),
        _ => None,
    };
    // Somebody reads a stream while it is written.
    let class = if streams && call.caller.class == engine::Class::Default {
        engine::Class::Interactive
    } else {
        call.caller.class
    };
    let logprobs = request.options.logprobs.is_some();
    let has_tools = !request.options.tools.is_empty();
    let mut jobs = Vec::new();
    let mut request = Some(request);
    for choice in 0..choices {
        // The last one needs no copy: a request can hold pictures.
        let is_last = choice + 1 == choices;
        let of_choice = if is_last {
            request.take()
        } else {
            request.clone()
        };
        let Some(mut of_choice) = of_choice else {
            break;
        };
        // Choices of one seed must differ, and the same seed must give the same choices.
        let seed = &mut of_choice.sampling.seed;
        *seed = seed.map(|seed| seed.wrapping_add(choice.into()));
        jobs.push(Job::submit::<Chat>(call.of_class(class), of_choice).await?);
    }
    let served = match jobs.first() {
        Some(job) => job.served().clone(),
        None => app.engine.served(&card.name)?,
    };
    let dress = Dress {
        model: card.name.clone(),
        rate: card.neurons,
        wants_json: wants_json && must_be_json,
        includes_usage,
        has_tools,
        one_call,
        logprobs,
    };
    if streams && let Some(job) = jobs.first_mut() {
        let first = job.next().await?.ok_or_else(|| ended_early(card))?;
        let scribe = form.scribe(dress, jobs.len());
        return Ok(Answer {
            content: Content::Events(events::body(jobs, first, scribe, call)),
            served,
            cost: Cost::default(),
            truncated: 0,
        });
    }
    let outcomes = jobs
        .into_iter()
        .map(|job| Outcome::collect(job, card, one_call));
    let outcomes = try_join_all(outcomes).await?;
    if wants_json && must_be_json {
        for outcome in &outcomes {
            let is_cut = outcome.finish == Finish::Length;
            if outcome.calls.is_empty()
                && !(is_cut && form.tells_length())
                && !json_mode::is_met(&outcome.text, schema.as_ref())
            {
                let text = if is_cut {
                    "the answer ended at its last token (max_tokens) before the JSON did"
                } else {
                    "the model's answer is something else"
                };
                return Err(Failure::JsonModeUnmet(text.into()).into());
            }
        }
    }
    let usage = events::sum(outcomes.iter().map(|outcome| outcome.usage));
    let (read, written) = (usage.prompt_tokens.into(), usage.completion_tokens.into());
    Ok(Answer {
        content: Content::json(&form.write(&dress, outcomes, usage))?,
        served,
        cost: neurons::of_tokens(card.neurons, read, written),
        truncated: 0,
    })
}
