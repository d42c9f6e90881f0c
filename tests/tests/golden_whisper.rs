//! Real Whisper checkpoints on real recordings, against faster-whisper's transcripts
//! (tests/golden/whisper/transcripts.json and long.json say how they were made).
#![allow(clippy::unwrap_used)] // a test that cannot run has failed
#![allow(clippy::print_stdout)] // error rates are told beside the verdict

use engine::model::{Said, SequenceId, SessionCompanion, SessionModel};
use models::whisper::{Hearing, WhisperCompanion, WhisperModel, load, load_tensors};
use models::{Files, Quality};
use serde_json::Value;
use tasks::{TranscribeEvent, TranscribeOptions, TranscribeRequest, Word};

/// Word errors for each word of the reference, over all clips of a model.
const WORD_ERROR_MAX: f64 = 0.05;
/// Seconds that half of the words' times may be off, and the worst of them.
const TIME_MEDIAN_MAX: f64 = 0.1;
const TIME_MAX: f64 = 0.5;
/// Samples a second of the clips that are joined to a long one.
const RATE: usize = 16_000;

struct Whisper {
    companion: std::sync::Arc<WhisperCompanion>,
    model: WhisperModel,
}

/// A transcript: its segments as `(start, end, text)`, its words, and the last event.
struct Heard {
    segments: Vec<(f64, f64, String)>,
    words: Vec<Word>,
    duration: f64,
    duration_after_vad: f64,
    language: String,
    language_probability: f64,
    decodings: Vec<tasks::Decoding>,
}

impl Heard {
    fn text(&self) -> String {
        self.segments
            .iter()
            .map(|(.., text)| text.as_str())
            .collect()
    }
}

impl Whisper {
    fn load(name: &str, quality: Quality) -> Self {
        let files = Files::new(testkit::weights(name))
            .with_others(|name| Ok(Files::new(testkit::weights(name))));
        let (companion, model) = load(&files, &tests::device(), quality).unwrap();
        Self { companion, model }
    }

    fn prepare(&self, audio: Vec<u8>, options: TranscribeOptions) -> Hearing {
        let request = TranscribeRequest { audio, options };
        self.companion.prepare(request).unwrap()
    }

    /// Runs sounds side by side to their ends.
    fn hear_all(&mut self, sounds: Vec<Vec<u8>>, options: &TranscribeOptions) -> Vec<Heard> {
        let mut events = Vec::new();
        for (id, audio) in sounds.into_iter().enumerate() {
            let hearing = self.prepare(audio, options.clone());
            self.model.begin(SequenceId(id as u64), hearing).unwrap();
            events.push(Vec::new());
        }
        let mut left = events.len();
        while left > 0 {
            for (id, said) in self.model.turn() {
                match said {
                    Said::Event(event) => events[id.0 as usize].push(event),
                    Said::End => {
                        left -= 1;
                        self.model.end(id);
                    }
                    Said::Failed(failure) => panic!("{failure}"),
                }
            }
        }
        events.into_iter().map(heard).collect()
    }

    fn hear(&mut self, audio: Vec<u8>, options: &TranscribeOptions) -> Heard {
        self.hear_all(vec![audio], options).remove(0)
    }
}

fn heard(mut events: Vec<TranscribeEvent>) -> Heard {
    let Some(TranscribeEvent::Done {
        duration,
        duration_after_vad,
        language,
        language_probability,
    }) = events.pop()
    else {
        panic!("{events:?}")
    };
    let mut heard = Heard {
        segments: Vec::new(),
        words: Vec::new(),
        duration: f64::from(duration),
        duration_after_vad: f64::from(duration_after_vad),
        language,
        language_probability: f64::from(language_probability),
        decodings: Vec::new(),
    };
    events.retain(|event| !matches!(event, TranscribeEvent::Nothing { .. }));
    for event in events {
        let TranscribeEvent::Segment {
            start,
            end,
            text,
            words,
            decoding,
        } = event
        else {
            panic!("{event:?}")
        };
        assert!(text.starts_with(' '), "{text:?}");
        heard
            .segments
            .push((f64::from(start), f64::from(end), text));
        heard.words.extend(words);
        heard.decodings.extend(decoding);
    }
    let mut latest = 0.0;
    for (start, end, _) in &heard.segments {
        let is_in_order = latest <= *start && start < end && *end <= heard.duration;
        assert!(is_in_order, "{:?}", heard.segments);
        latest = *end;
    }
    heard
}

fn with_words() -> TranscribeOptions {
    TranscribeOptions {
        words: true,
        ..TranscribeOptions::default()
    }
}

fn clip(name: &str) -> Vec<u8> {
    std::fs::read(testkit::golden("whisper").join(name)).unwrap()
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&clip(name)).unwrap()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| {
            word.to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric())
                .collect::<String>()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// Insertions, deletions and replacements between two texts (Levenshtein).
fn word_errors(ours: &[String], wanted: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=wanted.len()).collect();
    for (i, our) in ours.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, word) in wanted.iter().enumerate() {
            let replaced = diagonal + usize::from(our != word);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[wanted.len()]
}

fn first_frames_match(mel: &[f32], clip: &Value) {
    let frames = mel.len() / 80;
    for (frame, name) in [(0, "first_frame_8"), (100, "frame_100_8")] {
        for (bin, wanted) in clip["mel"][name].as_array().unwrap().iter().enumerate() {
            // MP3 decoders and resamplers differ by this much, the same samples by 1e-6.
            let difference = mel[bin * frames + frame] - wanted.as_f64().unwrap() as f32;
            assert!(
                difference.abs() < 0.03,
                "{}: {name} bin {bin} is off by {difference}",
                clip["file"]
            );
        }
    }
}

/// How far the times of words are from the reference's, `[word, start, end]` each, of the words that are
/// the same in both.
fn distances(ours: &[Word], wanted: &Value) -> Vec<f64> {
    let mut distances = Vec::new();
    let mut ours = ours.iter();
    for wanted in wanted.as_array().unwrap() {
        let text = wanted[0].as_str().unwrap();
        let mut rest = ours.clone();
        if let Some(word) = rest.by_ref().take(4).find(|word| word.word == text) {
            for (ours, wanted) in [(word.start, &wanted[1]), (word.end, &wanted[2])] {
                distances.push((f64::from(ours) - wanted.as_f64().unwrap()).abs());
            }
            ours = rest;
        }
    }
    distances
}

fn check(name: &str, quality: Quality) {
    let transcripts = golden("transcripts.json");
    let timed = golden("words.json");
    let mut whisper = Whisper::load(name, quality);
    let (mut errors, mut total, mut off) = (0, 0, Vec::new());
    for clip in transcripts["models"][name].as_array().unwrap() {
        let file = clip["file"].as_str().unwrap();
        let audio = self::clip(file);
        first_frames_match(
            whisper.prepare(audio.clone(), with_words()).mel().unwrap(),
            clip,
        );
        let heard = whisper.hear(audio, &with_words());
        assert_eq!(heard.language, clip["language"].as_str().unwrap(), "{file}");
        assert!(
            (heard.duration - clip["seconds"].as_f64().unwrap()).abs() < 0.1,
            "{file} lasts {}",
            heard.duration
        );
        let text = heard.text();
        let joined: String = heard.words.iter().map(|word| word.word.as_str()).collect();
        assert_eq!(
            joined.trim(),
            text.trim(),
            "{file}: words are all of the text"
        );
        assert!(
            heard
                .words
                .iter()
                .all(|word| word.start <= word.end && word.probability > 0.0)
        );
        let wanted = words(clip["text"].as_str().unwrap());
        errors += word_errors(&words(&text), &wanted);
        total += wanted.len();
        off.extend(distances(&heard.words, &timed["models"][name][file]));
        println!("{name} {file}: {text}");
    }
    off.sort_by(f64::total_cmp);
    let (median, worst) = (off[off.len() / 2], off[off.len() - 1]);
    let rate = errors as f64 / total as f64;
    println!(
        "{name} {quality:?}: {errors} errors in {total} words; {} times are {median:.3} s off, {worst:.3} s at worst",
        off.len()
    );
    assert!(
        total > 60 && rate <= WORD_ERROR_MAX,
        "{name}: a word error rate of {rate}"
    );
    assert!(
        off.len() > total && median <= TIME_MEDIAN_MAX && worst <= TIME_MAX,
        "{name}: {} times, {median} s off, {worst} s at worst",
        off.len()
    );
}

#[test]
fn golden_whisper_tiny_en_hears_what_faster_whisper_hears() {
    check("whisper-tiny-en", Quality::Exact);
}

#[test]
fn golden_whisper_tiny_en_hears_the_same_with_eight_bits() {
    check("whisper-tiny-en", Quality::Fast);
}

#[test]
fn golden_whisper_base_hears_what_faster_whisper_hears_and_knows_the_language() {
    check("whisper-base", Quality::Exact);
}

#[test]
fn golden_whisper_base_hears_the_same_with_eight_bits() {
    check("whisper-base", Quality::Fast);
}

/// A WAV file of 16-bit samples at [`RATE`].
fn wav(samples: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF".to_vec();
    file.extend((36 + samples.len() as u32).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend((RATE as u32).to_le_bytes());
    file.extend((2 * RATE as u32).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((samples.len() as u32).to_le_bytes());
    file.extend(samples);
    file
}

/// The samples of a clip.
fn samples(name: &str) -> Vec<u8> {
    let file = clip(name);
    let data = file.windows(4).position(|word| word == b"data").unwrap();
    file[data + 8..].to_vec()
}

/// The clips of long.json one after the other, each followed by its pause.
fn long(parts: &Value) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts.as_array().unwrap() {
        joined.extend(samples(part[0].as_str().unwrap()));
        let pause = (part[1].as_f64().unwrap() * RATE as f64) as usize;
        joined.resize(joined.len() + 2 * pause, 0);
    }
    wav(&joined)
}

#[test]
fn golden_more_than_a_window_is_heard_as_faster_whisper_hears_it() {
    let golden = golden("long.json");
    for name in ["whisper-tiny-en", "whisper-base"] {
        let reference = &golden["models"][name];
        let mut whisper = Whisper::load(name, Quality::Fast);
        let audio = long(&golden["parts"]);
        let heard = whisper.hear(audio.clone(), &with_words());
        let wanted = words(reference["text"].as_str().unwrap());
        let errors = word_errors(&words(&heard.text()), &wanted);
        let rate = errors as f64 / wanted.len() as f64;
        let mut off = distances(&heard.words, &reference["words"]);
        off.sort_by(f64::total_cmp);
        let median = off[off.len() / 2];
        println!(
            "{name}: {errors} errors in {} words, {} times {median:.3} s off\n{:?}",
            wanted.len(),
            off.len(),
            heard.segments
        );
        assert!(
            rate <= WORD_ERROR_MAX,
            "{name}: a word error rate of {rate}: {:?}",
            heard.segments
        );
        assert!(
            off.len() > wanted.len() && median <= TIME_MEDIAN_MAX,
            "{name}: {median}"
        );
    }
}

/// Against openai/whisper's own beam search over the same weights in float32.
#[test]
fn golden_beams_are_those_of_openai() {
    let golden = golden("beams.json");
    let long = long(&self::golden("long.json")["parts"]);
    for name in ["whisper-tiny-en", "whisper-base"] {
        let mut whisper = Whisper::load(name, Quality::Exact);
        for sound in golden["models"][name].as_array().unwrap() {
            let audio = match sound["file"].as_str().unwrap() {
                "long" => long.clone(),
                file => clip(file),
            };
            let options = TranscribeOptions {
                beam_size: Some(sound["beams"].as_u64().unwrap() as u32),
                ..TranscribeOptions::default()
            };
            let heard = whisper.hear(audio, &options);
            let wanted = sound["segments"].as_array().unwrap();
            assert_eq!(
                heard.segments.len(),
                wanted.len(),
                "{name} {sound}: {:?}",
                heard.segments
            );
            for ((ours, decoding), wanted) in
                heard.segments.iter().zip(&heard.decodings).zip(wanted)
            {
                let number = |at: usize| wanted[at].as_f64().unwrap();
                assert_eq!(
                    ours.2,
                    wanted[2].as_str().unwrap(),
                    "{name} {}",
                    sound["file"]
                );
                assert!((ours.0 - number(0)).abs() < 0.011, "{ours:?} {wanted}");
                // A sound ends where its samples do.
                assert!(
                    (ours.1 - number(1)).abs() < 0.011 || (ours.1 - heard.duration).abs() < 1e-6,
                    "{ours:?} {wanted}"
                );
                let off = (f64::from(decoding.avg_logprob) - number(3)).abs();
                assert!(off < 5e-3, "{name} {wanted}: {decoding:?}");
            }
            assert_eq!(heard.language, sound["language"].as_str().unwrap());
        }
    }
}

/// Beams of several sounds share passes and caches, also where there are not enough for all at once.
#[test]
fn beams_side_by_side_are_those_of_each_alone() {
    let mut whisper = Whisper::load("whisper-tiny-en", Quality::Fast);
    let options = TranscribeOptions {
        beam_size: Some(40),
        ..TranscribeOptions::default()
    };
    let sounds = ["jfk.wav", "austen-0930.wav", "jfk.mp3"].map(clip);
    let together = whisper.hear_all(sounds.to_vec(), &options);
    for (sound, together) in sounds.into_iter().zip(together) {
        assert_eq!(whisper.hear(sound, &options).segments, together.segments);
    }
}

#[test]
fn sounds_side_by_side_are_heard_as_alone() {
    let mut whisper = Whisper::load("whisper-tiny-en", Quality::Fast);
    let options = TranscribeOptions::default();
    let audio = long(&golden("long.json")["parts"]);
    let both = whisper.hear_all(vec![audio.clone(), clip("jfk.wav")], &options);
    assert_eq!(both[0].segments, whisper.hear(audio, &options).segments);
    assert_eq!(
        both[1].segments,
        whisper.hear(clip("jfk.wav"), &options).segments
    );
}

#[test]
fn options_change_what_is_heard() {
    let mut whisper = Whisper::load("whisper-base", Quality::Fast);
    let german = clip("espeak-de.wav");
    let heard = whisper.hear(german.clone(), &TranscribeOptions::default());
    assert!(heard.language == "de" && (0.7..1.0).contains(&heard.language_probability));
    let told = TranscribeOptions {
        language: Some("de".into()),
        ..TranscribeOptions::default()
    };
    let told = whisper.hear(german.clone(), &told);
    assert_eq!(
        (told.text(), told.language_probability),
        (heard.text(), 1.0)
    );
    let translate = TranscribeOptions {
        translate: true,
        ..TranscribeOptions::default()
    };
    let translated = whisper.hear(german, &translate).text().to_lowercase();
    assert!(
        translated.contains("morning") && translated.contains("park"),
        "{translated}"
    );

    let fox = clip("espeak-fox-22050.wav");
    let prompted = TranscribeOptions {
        initial_prompt: Some("THE QUICK BROWN FOX. ALL IS WRITTEN IN CAPITALS.".into()),
        ..TranscribeOptions::default()
    };
    let plain = whisper
        .hear(fox.clone(), &TranscribeOptions::default())
        .text();
    assert_ne!(whisper.hear(fox.clone(), &prompted).text(), plain);
    let prefixed = TranscribeOptions {
        prefix: Some("The swift".into()),
        ..TranscribeOptions::default()
    };
    let text = whisper.hear(fox, &prefixed).text();
    assert!(text.starts_with(" The swift"), "{text}");
}

#[test]
fn thresholds_ask_for_another_try_and_for_silence() {
    let mut whisper = Whisper::load("whisper-tiny-en", Quality::Fast);
    let strict = TranscribeOptions {
        log_prob_threshold: -0.01,
        ..TranscribeOptions::default()
    };
    let heard = whisper.hear(clip("jfk.wav"), &strict);
    assert!(!heard.segments.is_empty() && heard.decodings.len() == heard.segments.len());
    let again = whisper.hear(clip("jfk.wav"), &strict);
    assert_eq!(
        again.segments, heard.segments,
        "the same sound, the same words"
    );
    let deaf = TranscribeOptions {
        log_prob_threshold: 0.0,
        no_speech_threshold: 0.0,
        ..TranscribeOptions::default()
    };
    assert!(whisper.hear(clip("jfk.wav"), &deaf).segments.is_empty());
    let plain = whisper.hear(clip("jfk.wav"), &TranscribeOptions::default());
    for told in plain.decodings {
        let is_plausible = told.temperature == 0.0
            && (-1.0..0.0).contains(&told.avg_logprob)
            && (0.5..2.4).contains(&told.compression_ratio)
            && (0.0..0.6).contains(&told.no_speech_prob);
        assert!(is_plausible, "{told:?}");
    }
}

#[test]
fn silence_left_out_is_not_in_the_times() {
    let mut whisper = Whisper::load("whisper-tiny-en", Quality::Fast);
    let pause = vec![0; 2 * 20 * RATE];
    let file = wav(&[
        pause.clone(),
        samples("jfk.wav"),
        pause,
        samples("austen-0930.wav"),
    ]
    .concat());
    let options = TranscribeOptions {
        vad_filter: true,
        ..with_words()
    };
    let heard = whisper.hear(file, &options);
    assert!(
        (heard.duration - 54.3).abs() < 0.1 && (12.0..17.0).contains(&heard.duration_after_vad)
    );
    let at = |word: &str| {
        let mut words = heard.words.iter();
        let found = words.find(|said| said.word.to_lowercase().contains(word));
        f64::from(
            found
                .unwrap_or_else(|| panic!("{word}: {:?}", heard.words))
                .start,
        )
    };
    assert!((20.0..24.0).contains(&at("fellow")) && (51.0..54.3).contains(&at("even")));
}

/// What devices without flat rows compute, held against what the CPU does.
#[test]
fn tensors_hear_what_flat_rows_hear() {
    let files = Files::new(testkit::weights("whisper-tiny-en"));
    let (companion, model) = load_tensors(&files, &tests::device()).unwrap();
    let mut tensors = Whisper { companion, model };
    let mut flat = Whisper::load("whisper-tiny-en", Quality::Exact);
    let (ours, theirs) = (
        flat.hear(clip("jfk.wav"), &with_words()),
        tensors.hear(clip("jfk.wav"), &with_words()),
    );
    assert_eq!(ours.text(), theirs.text());
    for (ours, theirs) in ours.words.iter().zip(&theirs.words) {
        assert!(
            (ours.start - theirs.start).abs() < 0.1,
            "{ours:?} {theirs:?}"
        );
    }
}
