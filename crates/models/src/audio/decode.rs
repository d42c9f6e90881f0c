//! The bytes of a sound file to mono samples at 16 kHz.
//!
//! WAV, MP3, FLAC, OGG Vorbis and M4A (AAC-LC, ALAC), decoded packet by packet. The decoder stops at
//! the first packet beyond its limit, so that a file which unpacks to hours costs only the limit.

use std::io::Cursor;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioDecoderOptions;
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use tasks::Failure;

use super::resample::to_rate;

/// Samples a second that come out.
pub(crate) const SAMPLE_RATE: u32 = 16_000;
/// The lowest sample rate that goes in, in Hz.
const RATE_MIN_HZ: u32 = 1_000;
/// The highest sample rate that goes in, in Hz.
const RATE_MAX_HZ: u32 = 384_000;
/// The most channels that are averaged into one.
const CHANNELS_MAX: usize = 64;
/// The largest magnitude of a sample. Full scale is 1; floats in units of a 16-bit integer pass,
/// and what is larger would overflow the power spectrum.
const SAMPLE_MAX: f32 = 65_536.0;
/// The largest text or picture beside the sound that is kept while decoding, in bytes.
const TAG_MAX_BYTES: usize = 64 << 10;
/// Packets in a row that cannot be decoded before the file counts as broken.
const BROKEN_MAX_PACKETS: usize = 64;

/// Decoded sound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Audio {
    /// Mono, [`SAMPLE_RATE`] a second, full scale 1.
    pub(crate) samples: Vec<f32>,
    /// Length in seconds, as decoded before resampling.
    pub(crate) seconds: f32,
}

/// Why there are no samples.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum AudioError {
    /// No container or codec of ours, or damaged beyond use.
    #[error("the audio cannot be decoded: {0}; WAV, MP3, FLAC, OGG Vorbis and M4A are understood")]
    Undecodable(String),
    /// The container is sound but holds no sample.
    #[error("the audio is empty: no sample could be decoded")]
    Empty,
    /// A sample is not a number, or beyond [`SAMPLE_MAX`].
    #[error(
        "the audio holds a sample that is not a number within +-{SAMPLE_MAX} (frame {frame}); write it anew"
    )]
    NotFinite {
        /// The frame, from 0.
        frame: usize,
    },
    /// More channels than [`CHANNELS_MAX`], or none.
    #[error("the audio has {0} channels; 1 to {CHANNELS_MAX} are understood")]
    Channels(usize),
    /// A sample rate outside of [`RATE_MIN_HZ`] to [`RATE_MAX_HZ`].
    #[error(
        "the audio has a sample rate of {0} Hz; {RATE_MIN_HZ} to {RATE_MAX_HZ} Hz are understood"
    )]
    Rate(u32),
    /// Rate or channels change within the file.
    #[error("the audio changes its sample rate or stream within the file; write it as one stream")]
    Changes,
    /// Longer than the limit.
    #[error(
        "audio over {limit_seconds} s is not served yet, and this is {length}; send it in pieces of at most {limit_seconds} s"
    )]
    TooLong {
        /// The limit in seconds.
        limit_seconds: u32,
        /// The length in words: the header's claim, or only that it is longer.
        length: String,
    },
    /// A promise of ours broke.
    #[error("{0}")]
    Internal(String),
}

impl From<AudioError> for Failure {
    fn from(error: AudioError) -> Self {
        match error {
            AudioError::TooLong { .. } => Self::Unsupported(error.to_string()),
            AudioError::Internal(detail) => Self::Internal(detail),
            _ => Self::BadInput(error.to_string()),
        }
    }
}

/// Decodes a whole file of at most `limit_seconds`.
///
/// # Errors
/// [`AudioError`] says what is wrong with the file; nothing is ever cut to fit the limit.
pub(crate) fn decode(bytes: Vec<u8>, limit_seconds: u32) -> Result<Audio, AudioError> {
    let source = MediaSourceStream::new(
        Box::new(Cursor::new(bytes)),
        MediaSourceStreamOptions::default(),
    );
    let limit = Limit::Maximum(TAG_MAX_BYTES);
    let tags = MetadataOptions::default()
        .limit_tag_bytes(limit)
        .limit_visual_bytes(limit);
    let mut format = symphonia::default::get_probe()
        .probe(&Hint::new(), source, FormatOptions::default(), tags)
        .map_err(|error| AudioError::Undecodable(error.to_string()))?;
    let mono = decode_track(format.as_mut(), limit_seconds)?;
    let seconds = mono.samples.len() as f32 / mono.rate as f32;
    let samples = to_rate(mono.samples, mono.rate, SAMPLE_RATE).map_err(AudioError::Internal)?;
    Ok(Audio { samples, seconds })
}

/// Samples at the rate of their file.
struct Mono {
    samples: Vec<f32>,
    rate: u32,
    limit_seconds: u32,
    /// The length that the header claims, in seconds.
    claimed_seconds: Option<f64>,
    /// Kept between packets.
    interleaved: Vec<f32>,
}

fn decode_track(format: &mut dyn FormatReader, limit_seconds: u32) -> Result<Mono, AudioError> {
    let undecodable = |error: SymphoniaError| AudioError::Undecodable(error.to_string());
    let track = format
        .default_track(TrackType::Audio)
        .ok_or_else(|| AudioError::Undecodable("it has no audio track".into()))?;
    let Some(CodecParameters::Audio(parameters)) = &track.codec_params else {
        return Err(AudioError::Undecodable(
            "its audio track names no codec".into(),
        ));
    };
    if let Some(channels) = &parameters.channels {
        check_channels(channels.count())?;
    }
    let id = track.id;
    let mut mono = Mono {
        samples: Vec::new(),
        rate: 0,
        limit_seconds,
        claimed_seconds: claimed_seconds(track),
        interleaved: Vec::new(),
    };
    let mut decoder = symphonia::default::get_codecs()
        .make_audio_decoder(parameters, &AudioDecoderOptions::default())
        .map_err(undecodable)?;
    let mut broken = 0;
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
            Err(SymphoniaError::ResetRequired) => return Err(AudioError::Changes),
            Err(error) => return Err(undecodable(error)),
        };
        if packet.track_id != id {
            continue;
        }
        match decoder.decode(&packet) {
            Ok(buffer) => {
                broken = 0;
                mono.push(&buffer)?;
            }
            Err(SymphoniaError::ResetRequired) => return Err(AudioError::Changes),
            // One damaged packet is a click, a run of them is not sound.
            Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_))
                if broken < BROKEN_MAX_PACKETS =>
            {
                broken += 1;
            }
            Err(error) => return Err(undecodable(error)),
        }
    }
    if mono.samples.is_empty() {
        return Err(AudioError::Empty);
    }
    Ok(mono)
}

impl Mono {
    /// Averages the channels of one packet.
    fn push(&mut self, buffer: &GenericAudioBufferRef<'_>) -> Result<(), AudioError> {
        if buffer.is_empty() {
            return Ok(());
        }
        let rate = buffer.spec().rate();
        if !(RATE_MIN_HZ..=RATE_MAX_HZ).contains(&rate) {
            return Err(AudioError::Rate(rate));
        }
        if self.rate != 0 && rate != self.rate {
            return Err(AudioError::Changes);
        }
        self.rate = rate;
        let channels = buffer.num_planes();
        check_channels(channels)?;
        let limit_frames = self.limit_seconds as usize * rate as usize;
        if self.samples.len() + buffer.frames() > limit_frames {
            return Err(self.too_long());
        }
        buffer.copy_to_vec_interleaved(&mut self.interleaved);
        let share = 1.0 / channels as f32;
        self.samples.reserve(buffer.frames());
        for frame in self.interleaved.chunks_exact(channels) {
            if !frame.iter().all(|sample| sample.abs() <= SAMPLE_MAX) {
                return Err(AudioError::NotFinite {
                    frame: self.samples.len(),
                });
            }
            self.samples.push(frame.iter().sum::<f32>() * share);
        }
        Ok(())
    }

    fn too_long(&self) -> AudioError {
        let limit_seconds = self.limit_seconds;
        let length = match self.claimed_seconds {
            Some(seconds) if seconds > f64::from(limit_seconds) => format!("{seconds:.1} s long"),
            _ => "longer".into(),
        };
        AudioError::TooLong {
            limit_seconds,
            length,
        }
    }
}

fn check_channels(channels: usize) -> Result<(), AudioError> {
    if (1..=CHANNELS_MAX).contains(&channels) {
        Ok(())
    } else {
        Err(AudioError::Channels(channels))
    }
}

fn claimed_seconds(track: &Track) -> Option<f64> {
    let time = track.time_base?.calc_duration(track.duration?)?;
    Some(time.as_secs_f64())
}
