//! The bytes of a sound file to mono samples at 16 kHz.
//!
//! WAV, MP3, FLAC, OGG Vorbis and M4A (AAC-LC, ALAC), decoded packet by packet as the samples are asked
//! for, so that hours of sound never lie in memory as samples. The decoder stops at the first packet
//! beyond its limit.

use std::io::Cursor;

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use tasks::Failure;

use super::resample::Rate;

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
        frame: u64,
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
        "audio over {limit_seconds} s is not served, and this is {length}; send it in pieces of at most {limit_seconds} s"
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

/// A file that is decoded as it is read: mono samples, [`SAMPLE_RATE`] a second, full scale 1.
pub(crate) struct Sound {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    limit_seconds: u32,
    /// The length that the header claims, in seconds.
    claimed_seconds: Option<f64>,
    /// The file's own rate, once a packet has told it.
    rate: Option<(u32, Rate)>,
    /// Frames decoded so far, at the file's own rate.
    frames: u64,
    ended: bool,
    /// Kept between packets.
    interleaved: Vec<f32>,
    mono: Vec<f32>,
}

impl Sound {
    /// Opens a file of at most `limit_seconds`; nothing of it is decoded yet.
    ///
    /// # Errors
    /// [`AudioError`] says what is wrong with the file.
    pub(crate) fn open(bytes: Vec<u8>, limit_seconds: u32) -> Result<Self, AudioError> {
        let source = MediaSourceStream::new(
            Box::new(Cursor::new(bytes)),
            MediaSourceStreamOptions::default(),
        );
        let limit = Limit::Maximum(TAG_MAX_BYTES);
        let tags = MetadataOptions::default()
            .limit_tag_bytes(limit)
            .limit_visual_bytes(limit);
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), source, FormatOptions::default(), tags)
            .map_err(|error| undecodable(&error))?;
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
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| undecodable(&error))?;
        Ok(Self {
            decoder,
            track: track.id,
            limit_seconds,
            claimed_seconds: claimed_seconds(track),
            format,
            rate: None,
            frames: 0,
            ended: false,
            interleaved: Vec::new(),
            mono: Vec::new(),
        })
    }

    /// Appends the samples of the next packet to `out`; false when there are no more.
    ///
    /// # Errors
    /// [`AudioError`] says what is wrong with the file; nothing is ever cut to fit the limit.
    pub(crate) fn read(&mut self, out: &mut Vec<f32>) -> Result<bool, AudioError> {
        let mut broken = 0;
        while !self.ended {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                // A file cut short ends where it ends, whatever its header promised.
                Err(SymphoniaError::IoError(error))
                    if error.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    break;
                }
                Err(SymphoniaError::ResetRequired) => return Err(AudioError::Changes),
                Err(error) => return Err(undecodable(&error)),
            };
            if packet.track_id != self.track {
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(buffer) => {
                    broken = 0;
                    let Some(rate) =
                        mix(&buffer, &mut self.interleaved, &mut self.mono, self.frames)?
                    else {
                        continue;
                    };
                    self.take(rate, out)?;
                    return Ok(true);
                }
                Err(SymphoniaError::ResetRequired) => return Err(AudioError::Changes),
                // One damaged packet is a click, a run of them is not sound.
                Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_))
                    if broken < BROKEN_MAX_PACKETS =>
                {
                    broken += 1;
                }
                Err(error) => return Err(undecodable(&error)),
            }
        }
        if self.ended {
            return Ok(false);
        }
        self.ended = true;
        let Some((_, rate)) = &mut self.rate else {
            return Err(AudioError::Empty);
        };
        rate.finish(out).map_err(AudioError::Internal)?;
        Ok(true)
    }

    /// Takes the samples of a packet from `mono`.
    fn take(&mut self, rate: u32, out: &mut Vec<f32>) -> Result<(), AudioError> {
        let resampler = match &mut self.rate {
            Some((known, resampler)) if *known == rate => resampler,
            Some(_) => return Err(AudioError::Changes),
            empty => {
                let resampler = Rate::new(rate, SAMPLE_RATE).map_err(AudioError::Internal)?;
                &mut empty.insert((rate, resampler)).1
            }
        };
        self.frames += self.mono.len() as u64;
        if self.frames > u64::from(self.limit_seconds) * u64::from(rate) {
            let limit_seconds = self.limit_seconds;
            let length = match self.claimed_seconds {
                Some(seconds) if seconds > f64::from(limit_seconds) => {
                    format!("{seconds:.1} s long")
                }
                _ => "longer".into(),
            };
            return Err(AudioError::TooLong {
                limit_seconds,
                length,
            });
        }
        resampler
            .push(&self.mono, out)
            .map_err(AudioError::Internal)
    }

    /// Length in seconds of what was read so far, as decoded before resampling.
    pub(crate) fn seconds(&self) -> f64 {
        match &self.rate {
            Some((rate, _)) => self.frames as f64 / f64::from(*rate),
            None => 0.0,
        }
    }
}

fn undecodable(error: &SymphoniaError) -> AudioError {
    AudioError::Undecodable(error.to_string())
}

/// Averages the channels of one packet into `mono`, and gives its rate; `None` for one that is empty.
/// `frames` came before it.
fn mix(
    buffer: &GenericAudioBufferRef<'_>,
    interleaved: &mut Vec<f32>,
    mono: &mut Vec<f32>,
    frames: u64,
) -> Result<Option<u32>, AudioError> {
    if buffer.is_empty() {
        return Ok(None);
    }
    let rate = buffer.spec().rate();
    if !(RATE_MIN_HZ..=RATE_MAX_HZ).contains(&rate) {
        return Err(AudioError::Rate(rate));
    }
    let channels = buffer.num_planes();
    check_channels(channels)?;
    buffer.copy_to_vec_interleaved(interleaved);
    let share = 1.0 / channels as f32;
    mono.clear();
    for frame in interleaved.chunks_exact(channels) {
        if !frame.iter().all(|sample| sample.abs() <= SAMPLE_MAX) {
            return Err(AudioError::NotFinite {
                frame: frames + mono.len() as u64,
            });
        }
        mono.push(frame.iter().sum::<f32>() * share);
    }
    Ok(Some(rate))
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
