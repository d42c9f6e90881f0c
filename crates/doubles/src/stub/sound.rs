//! What a sound file holds: how long it is, and whether it is silent. Decoded packet by packet, none
//! of which is kept.

use std::io::Cursor;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use tasks::Failure;

/// The longest sound that is listened to, in seconds: a file can unpack to far more than it weighs.
const SECONDS_MAX: u64 = 2 * 60 * 60;
/// The largest text or picture beside the sound that is kept while decoding, in bytes.
const TAG_MAX_BYTES: usize = 64 << 10;
/// The most channels.
const CHANNELS_MAX: usize = 64;
/// Packets in a row that cannot be decoded before the file counts as broken.
const BROKEN_MAX_PACKETS: usize = 64;
/// Below this share of full scale (-60 dB) everything is silence.
const SILENCE_MAX: f32 = 0.001;

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heard {
    /// Length in seconds, above 0.
    pub(super) seconds: f32,
    /// No sample is above [`SILENCE_MAX`].
    pub(super) is_silent: bool,
}

/// Listens to a whole file (WAV, MP3, FLAC, OGG Vorbis, M4A).
///
/// # Errors
/// [`Failure::BadInput`] for what is no sound, [`Failure::Unsupported`] for what is too long.
pub(super) fn listen(file: Vec<u8>) -> Result<Heard, Failure> {
    let options = MediaSourceStreamOptions::default();
    let source = MediaSourceStream::new(Box::new(Cursor::new(file)), options);
    let limit = Limit::Maximum(TAG_MAX_BYTES);
    let tags = MetadataOptions::default()
        .limit_tag_bytes(limit)
        .limit_visual_bytes(limit);
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), source, FormatOptions::default(), tags)
        .map_err(undecodable)?;
    decode(format.as_mut())
}

fn undecodable(error: impl std::fmt::Display) -> Failure {
    Failure::BadInput(format!(
        "the audio cannot be decoded: {error}; WAV, MP3, FLAC, OGG Vorbis and M4A are understood"
    ))
}

fn decode(format: &mut dyn FormatReader) -> Result<Heard, Failure> {
    let track = format.default_track(TrackType::Audio);
    let track = track.ok_or_else(|| undecodable("it has no audio track"))?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(undecodable("its audio track names no codec"));
    };
    let channels = parameters.channels.as_ref();
    if channels.is_some_and(|channels| !(1..=CHANNELS_MAX).contains(&channels.count())) {
        return Err(undecodable("it has too many channels, or none"));
    }
    let id = track.id;
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(undecodable)?;
    let (mut frames, mut rate, mut loudest, mut broken) = (0_u64, 0, 0.0_f32, 0);
    let mut samples: Vec<f32> = Vec::new();
    loop {
        let packet = match format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break,
            // A file cut short ends where it ends, whatever its header promised.
            Err(SymphoniaError::IoError(error))
                if error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                break;
            }
            Err(error) => return Err(undecodable(error)),
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(buffer) => {
                broken = 0;
                if buffer.is_empty() {
                    continue;
                }
                if rate != 0 && buffer.spec().rate() != rate {
                    return Err(undecodable("its sample rate changes within the file"));
                }
                rate = buffer.spec().rate();
                if rate == 0 {
                    return Err(undecodable("its sample rate is 0"));
                }
                frames += buffer.frames() as u64;
                if frames / u64::from(rate) > SECONDS_MAX {
                    return Err(Failure::Unsupported(format!(
                        "a stub listens to {SECONDS_MAX} s of audio at most; send it in pieces"
                    )));
                }
                buffer.copy_to_vec_interleaved(&mut samples);
                let magnitudes = samples.iter().map(|sample| sample.abs());
                loudest = magnitudes.fold(loudest, f32::max);
            }
            // One damaged packet is a click, a run of them is not sound.
            Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_))
                if broken < BROKEN_MAX_PACKETS =>
            {
                broken += 1;
            }
            Err(error) => return Err(undecodable(error)),
        }
    }
    if frames == 0 {
        return Err(Failure::BadInput("the audio is empty".into()));
    }
    Ok(Heard {
        seconds: (frames as f64 / f64::from(rate)) as f32,
        is_silent: loudest <= SILENCE_MAX,
    })
}
