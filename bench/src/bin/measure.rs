//! One of ours in a race of `bench/compare`: loads a model, then runs one round for each line `go` on
//! its input and answers with the round's rate.
//!
//! `measure bert FOLDER LENGTH BATCH exact|fast`: texts a second.
//! `measure prefill FOLDER LENGTH`, `measure decode FOLDER STREAMS`: tokens a second.
//! `measure answers FOLDER repeat|chat DRAFTS`: tokens a second of one stream after its first, whose steps guess so many
//! tokens at most.
//! `measure generate FOLDER PROMPT`: tokens a second of one stream behind a prompt of so many, drawn at a temperature of 1.
//! `measure whisper FOLDER SOUND exact|fast`: seconds of sound a second.
//! `measure unet FOLDER exact|fast`: passes a second over two latents, of a folder of `shape_sd15.py`.
//! `measure peak`: floating-point operations a second of one large product.
//! `measure perplexity FOLDER TOKENS`: printed once. Of a line of token numbers, in windows of
//! [`WINDOW`] whose last [`SCORED`] tokens are scored, each with all of its window before it.
#![allow(clippy::print_stdout)]

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Instant;

use bench::answers::{self, Answers};
use candle_core::Tensor;
use engine::Sampler;
use engine::model::{
    BLOCK_TOKENS, BatchModel, Said, SequenceId, SessionCompanion, SessionModel, Span, Step,
    StepModel,
};
use kernels::{Backend, FloatLinear};
use models::decoder::Decoder;
use models::device::Device;
use models::image::StableDiffusion;
use models::{Files, Fit, Quality, bert, whisper};
use tasks::{
    EmbedRequest, Overlong, Pooling, Sampling, TranscribeEvent, TranscribeOptions,
    TranscribeRequest,
};

/// Tokens that each stream has read before a decode round, and that it writes in one.
const DECODE_PROMPT: usize = 16;
const DECODE_TOKENS: usize = 64;
/// Rows and columns of the matrices whose product measures the peak.
const PEAK_SIDE: usize = 2048;
/// A BERT round lasts at least this long.
const ROUND_SECONDS: f64 = 1.0;

/// Tokens of a window of the perplexity, and how many of them are scored: a token's context is between
/// the difference and the whole.
const WINDOW: usize = 512;
const SCORED: usize = 256;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    kernels::Pool::set_threads(1);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["perplexity", folder, tokens] = words[..] {
        println!("{}", perplexity(&mut decoder(folder)?, tokens)?);
        return Ok(());
    }
    let mut round: Box<dyn FnMut() -> Result<f64>> = match words[..] {
        ["bert", folder, length, batch, quality] => {
            bert_round(folder, length.parse()?, batch.parse()?, named(quality)?)?
        }
        ["unet", folder, quality] => unet_round(folder, named(quality)?)?,
        ["peak"] => peak_round()?,
        ["whisper", folder, sound, quality] => whisper_round(folder, sound, named(quality)?)?,
        ["prefill", folder, length] => {
            let (mut decoder, length) = (decoder(folder)?, length.parse()?);
            Box::new(move || prefill(&mut decoder, length))
        }
        ["decode", folder, streams] => {
            let (mut decoder, streams) = (decoder(folder)?, streams.parse()?);
            Box::new(move || decode(&mut decoder, streams))
        }
        ["answers", folder, kind, drafts] => answers_round(folder, kind, drafts.parse()?)?,
        ["generate", folder, prompt] => {
            let (mut decoder, prompt) = (decoder(folder)?, prompt.parse()?);
            Box::new(move || generate(&mut decoder, prompt))
        }
        _ => return Err("see the top of bench/src/bin/measure.rs".into()),
    };
    round()?; // warm
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        if line?.trim() != "go" {
            break;
        }
        println!("{}", round()?);
    }
    Ok(())
}

fn named(quality: &str) -> Result<Quality> {
    Quality::of_word(quality).ok_or_else(|| format!("no quality is named {quality}").into())
}

fn whisper_round(
    folder: &str,
    sound: &str,
    quality: Quality,
) -> Result<Box<dyn FnMut() -> Result<f64>>> {
    let files = Files::new(folder.into());
    let (companion, mut model) = whisper::load(&files, &Device::Cpu, quality)?;
    let audio = std::fs::read(sound)?;
    let options = TranscribeOptions {
        language: Some("en".into()),
        condition_on_previous_text: false,
        ..TranscribeOptions::default()
    };
    let mut rounds = 0;
    Ok(Box::new(move || {
        let start = Instant::now();
        let request = TranscribeRequest {
            audio: audio.clone(),
            options: options.clone(),
        };
        let id = SequenceId(rounds);
        rounds += 1;
        model.begin(id, companion.prepare(request)?)?;
        let mut text = String::new();
        loop {
            for (_, said) in model.turn() {
                match said {
                    Said::Event(TranscribeEvent::Segment { text: more, .. }) => {
                        text.push_str(&more);
                    }
                    Said::Event(TranscribeEvent::Done { duration, .. }) => {
                        if rounds == 1 {
                            eprintln!("{}", text.chars().take(200).collect::<String>());
                        }
                        model.end(id);
                        return Ok(f64::from(duration) / start.elapsed().as_secs_f64());
                    }
                    Said::Event(TranscribeEvent::Nothing { .. }) => {}
                    Said::End => return Err("it ended before its end".into()),
                    Said::Failed(failure) => return Err(failure.into()),
                }
            }
        }
    }))
}

fn bert_round(
    folder: &str,
    length: usize,
    batch: usize,
    quality: Quality,
) -> Result<Box<dyn FnMut() -> Result<f64>>> {
    let files = Files::new(folder.into());
    let (companion, mut model) = bert::load(&files, &Device::Cpu, quality)?;
    // A word of one token, and two special tokens.
    let text = vec!["the"; length - 2].join(" ");
    let request = EmbedRequest {
        text,
        pooling: Pooling::Cls,
        width: 384,
        window: 512,
        overlong: Overlong::Truncate,
    };
    let work = companion.embed(request)?.work;
    if work.tokens().len() != length {
        return Err(format!("{} tokens for {length}", work.tokens().len()).into());
    }
    Ok(Box::new(move || {
        let start = Instant::now();
        let mut texts = 0;
        while start.elapsed().as_secs_f64() < ROUND_SECONDS {
            for answer in model.run(vec![work.clone(); batch]) {
                answer?;
                texts += 1;
            }
        }
        Ok(f64::from(texts) / start.elapsed().as_secs_f64())
    }))
}

/// The same numbers as the peer's.
fn wave(shape: &[usize], step: f32) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let numbers: Vec<f32> = (0..count).map(|at| (at as f32 * step).sin()).collect();
    Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
}

fn unet_round(folder: &str, quality: Quality) -> Result<Box<dyn FnMut() -> Result<f64>>> {
    let fit = Fit {
        quality,
        ..Fit::default()
    };
    let model = StableDiffusion::load(&Files::new(folder.into()), &Device::Cpu, fit)?;
    let latents = wave(&[2, 4, 64, 64], 0.7)?;
    let prompt = wave(&[2, 77, 768], 0.3)?;
    let mut is_first = true;
    Ok(Box::new(move || {
        let start = Instant::now();
        let said = model.predict(&latents, 500.0, (prompt.clone(), None), [0.0; 6])?;
        let rate = 1.0 / start.elapsed().as_secs_f64();
        if std::mem::take(&mut is_first) {
            eprintln!(
                "{:?}",
                said.flatten_all()?.narrow(0, 0, 4)?.to_vec1::<f32>()?
            );
        }
        Ok(rate)
    }))
}

/// The larger rate of candle's product and of ours.
fn peak_round() -> Result<Box<dyn FnMut() -> Result<f64>>> {
    let (a, b) = (wave(&[PEAK_SIDE; 2], 0.7)?, wave(&[PEAK_SIDE; 2], 0.3)?);
    let rows = a.flatten_all()?.to_vec1::<f32>()?;
    let matrix = FloatLinear::from_floats(&rows, PEAK_SIDE, PEAK_SIDE);
    let mut out = vec![0.0; rows.len()];
    let operations = 2.0 * (PEAK_SIDE as f64).powi(3);
    Ok(Box::new(move || {
        let start = Instant::now();
        a.matmul(&b)?;
        let theirs = start.elapsed().as_secs_f64();
        let start = Instant::now();
        matrix.multiply(&rows, &mut out, Backend::best());
        let ours = start.elapsed().as_secs_f64();
        Ok(operations / ours.min(theirs))
    }))
}

fn decoder(folder: &str) -> Result<Decoder> {
    Ok(Decoder::load(&Files::new(folder.into()), &Device::Cpu)?)
}

/// Some token that every vocabulary has.
fn token(at: usize) -> u32 {
    (at * 37 % 250) as u32 + 3
}

fn table(sequence: usize, tokens: usize) -> Vec<u32> {
    let blocks = tokens.div_ceil(BLOCK_TOKENS) as u32;
    let first = sequence as u32 * blocks;
    (first..first + blocks).collect()
}

fn prefill(decoder: &mut Decoder, length: usize) -> Result<f64> {
    let step = Step {
        tokens: (0..length).map(token).collect(),
        spans: vec![Span {
            sequence: SequenceId(0),
            rows: 0..length,
            start: 0,
            blocks: table(0, length),
            logits: 1,
        }],
    };
    let start = Instant::now();
    decoder.step(&step)?;
    Ok(length as f64 / start.elapsed().as_secs_f64())
}

/// As the engine generates, without all that is around it.
fn generate(decoder: &mut Decoder, prompt: usize) -> Result<f64> {
    let most = prompt + DECODE_TOKENS;
    let step = |tokens: Vec<u32>, at: usize| Step {
        spans: vec![Span {
            sequence: SequenceId(0),
            rows: 0..tokens.len(),
            start: at,
            blocks: table(0, most),
            logits: 1,
        }],
        tokens,
    };
    let drawn = Sampling {
        temperature: 1.0,
        ..Sampling::greedy()
    };
    let mut sampler = Sampler::new(drawn, &[], 1);
    let rows = decoder.step(&step((0..prompt).map(token).collect(), 0))?;
    let mut last = token(prompt);
    decoder.reuse(rows);
    let start = Instant::now();
    for at in prompt..most {
        let mut rows = decoder.step(&step(vec![last], at))?;
        last = sampler.next(&mut rows.logits)?;
        decoder.reuse(rows);
    }
    Ok(DECODE_TOKENS as f64 / start.elapsed().as_secs_f64())
}

fn decode(decoder: &mut Decoder, streams: usize) -> Result<f64> {
    let most = DECODE_PROMPT + DECODE_TOKENS;
    let step = |length: usize, at: usize| Step {
        tokens: (0..streams * length).map(|row| token(at + row)).collect(),
        spans: (0..streams)
            .map(|stream| Span {
                sequence: SequenceId(stream as u64),
                rows: stream * length..(stream + 1) * length,
                start: at,
                blocks: table(stream, most),
                logits: 1,
            })
            .collect(),
    };
    decoder.step(&step(DECODE_PROMPT, 0))?;
    let start = Instant::now();
    for at in DECODE_PROMPT..most {
        let rows = decoder.step(&step(1, at))?;
        decoder.reuse(rows);
    }
    Ok((streams * DECODE_TOKENS) as f64 / start.elapsed().as_secs_f64())
}

fn answers_round(
    folder: &str,
    kind: &str,
    drafts: usize,
) -> Result<Box<dyn FnMut() -> Result<f64>>> {
    let mut answers = Answers::load(folder, drafts)?;
    let requests = answers::requests(kind).ok_or("an unknown kind of answers")?;
    let mut is_first = true;
    Ok(Box::new(move || {
        let (mut tokens, mut seconds) = (0, 0.0);
        for request in &requests {
            let answer = answers.answer(request.clone())?;
            tokens += answer.tokens;
            seconds += answer.seconds;
            if is_first {
                eprintln!("{:?}", answer.text);
            }
        }
        if std::mem::take(&mut is_first) {
            let (guessed, right) = (answers.guessed, answers.came_true);
            eprintln!("{tokens} tokens, {right} of {guessed} guesses came true");
        }
        Ok(tokens as f64 / seconds)
    }))
}

fn perplexity(decoder: &mut Decoder, tokens: &str) -> Result<f64> {
    let tokens: Vec<u32> = std::fs::read_to_string(tokens)?
        .split_whitespace()
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    let blocks = table(0, WINDOW);
    let (mut loss, mut scored) = (0.0, 0);
    for window in tokens.chunks_exact(WINDOW) {
        let step = Step {
            tokens: window[..WINDOW - 1].to_vec(),
            spans: vec![Span {
                sequence: SequenceId(0),
                rows: 0..WINDOW - 1,
                start: 0,
                blocks: blocks.clone(),
                logits: SCORED, // each scored token is said by the row before it
            }],
        };
        let rows = decoder.step(&step)?;
        for (logits, &said) in rows
            .logits
            .chunks_exact(rows.width)
            .zip(&window[WINDOW - SCORED..])
        {
            let most = logits.iter().copied().fold(f32::MIN, f32::max);
            let sum: f64 = logits
                .iter()
                .map(|&logit| f64::from(logit - most).exp())
                .sum();
            loss += f64::from(most) + sum.ln() - f64::from(logits[said as usize]);
            scored += 1;
        }
    }
    Ok((loss / f64::from(scored)).exp())
}
