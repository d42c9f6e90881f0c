//! Sound: the formats of answers, and the file around raw samples.

use mp3lame_encoder::{Bitrate, Builder, FlushGap, MonoPcm, Quality};
use tasks::Failure;

/// The most samples a second of raw audio that is given.
pub(super) const SAMPLE_RATE_MAX: u32 = 384_000;

/// Samples of a file that has to be complete before its first byte is known: an hour at 48 kHz.
const FILE_MAX_SAMPLES: usize = 48_000 * 3600;

/// Samples in a block of FLAC.
const FLAC_BLOCK_SAMPLES: usize = 4096;

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// MPEG layer III with this many bits a second.
    Mp3(u32),
    /// Whole numbers of 16 bits, little-endian.
    Linear16,
    /// G.711, mu-law.
    Mulaw,
    /// G.711, A-law.
    Alaw,
    /// The free lossless codec, 16 bits.
    Flac,
}

/// A format of sound of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) encoding: Encoding,
    /// A RIFF header goes before the samples.
    pub(super) is_wav: bool,
    pub(super) sample_rate: u32,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self.encoding {
            _ if self.is_wav => "audio/wav",
            Encoding::Mp3(_) => "audio/mpeg",
            Encoding::Linear16 => "audio/l16",
            Encoding::Mulaw => "audio/mulaw",
            Encoding::Alaw => "audio/alaw",
            Encoding::Flac => "audio/flac",
        }
    }

    /// # Errors
    /// [`Failure::Internal`] for a format that there is not.
    pub(super) fn encoder(self) -> Result<Encoder, Failure> {
        let state = match self.encoding {
            Encoding::Mp3(bit_rate) => State::Mp3(Box::new(mp3(self.sample_rate, bit_rate)?)),
            Encoding::Flac => State::Flac(Vec::new()),
            Encoding::Linear16 | Encoding::Mulaw | Encoding::Alaw if self.is_wav => {
                State::Wav(Vec::new())
            }
            Encoding::Linear16 | Encoding::Mulaw | Encoding::Alaw => State::Bare,
        };
        Ok(Encoder {
            format: self,
            state,
        })
    }
}

/// Writes samples as they come, where the format allows it.
pub(super) struct Encoder {
    format: Format,
    state: State,
}

enum State {
    Mp3(Box<mp3lame_encoder::Encoder>),
    /// Samples that wait for the end.
    Flac(Vec<i32>),
    /// Encoded samples that wait for the length in front of them.
    Wav(Vec<u8>),
    Bare,
}

impl Encoder {
    /// The bytes that samples, each within -1 to 1, add to the file.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<Vec<u8>, Failure> {
        let encoding = self.format.encoding;
        match &mut self.state {
            State::Mp3(encoder) => {
                let samples: Vec<f32> = samples.iter().map(|sample| clean(*sample)).collect();
                let most = mp3lame_encoder::max_required_buffer_size(samples.len());
                let mut bytes = Vec::with_capacity(most);
                encoder
                    .encode_to_vec(MonoPcm(&samples[..]), &mut bytes)
                    .map_err(|error| wrong(&error))?;
                Ok(bytes)
            }
            State::Flac(all) => {
                fits(all.len() + samples.len())?;
                all.extend(samples.iter().map(|sample| i32::from(linear(*sample))));
                Ok(Vec::new())
            }
            State::Wav(all) => {
                fits(all.len() / 2 + samples.len())?;
                write(samples, encoding, all);
                Ok(Vec::new())
            }
            State::Bare => {
                let mut bytes = Vec::new();
                write(samples, encoding, &mut bytes);
                Ok(bytes)
            }
        }
    }

    /// The bytes that end the file.
    ///
    /// # Errors
    /// [`Failure::Internal`].
    pub(super) fn finish(self) -> Result<Vec<u8>, Failure> {
        let Format {
            encoding,
            sample_rate,
            ..
        } = self.format;
        match self.state {
            State::Mp3(mut encoder) => {
                let most = mp3lame_encoder::max_required_buffer_size(0);
                let mut bytes = Vec::with_capacity(most);
                encoder
                    .flush_to_vec::<FlushGap>(&mut bytes)
                    .map_err(|error| wrong(&error))?;
                Ok(bytes)
            }
            State::Flac(samples) => flac(sample_rate, &samples),
            State::Wav(data) => {
                let (tag, sample_bytes) = match encoding {
                    Encoding::Alaw => (6, 1),
                    Encoding::Mulaw => (7, 1),
                    _ => (1, 2),
                };
                let header = riff(tag, sample_rate, 1, sample_bytes, data.len());
                Ok([&header[..], &data].concat())
            }
            State::Bare => Ok(Vec::new()),
        }
    }
}

fn wrong(error: &dyn std::fmt::Debug) -> Failure {
    Failure::Internal(format!("encoding sound: {error:?}"))
}

fn fits(samples: usize) -> Result<(), Failure> {
    if samples > FILE_MAX_SAMPLES {
        return Err(wrong(&"more samples than one file may have"));
    }
    Ok(())
}

/// A sample within its range; what is no number is silence.
fn clean(sample: f32) -> f32 {
    if sample.is_nan() {
        0.0
    } else {
        sample.clamp(-1.0, 1.0)
    }
}

/// A sample as a number of 16 bits.
fn linear(sample: f32) -> i16 {
    (clean(sample) * f32::from(i16::MAX)).round() as i16
}

fn write(samples: &[f32], encoding: Encoding, bytes: &mut Vec<u8>) {
    let samples = samples.iter().map(|sample| linear(*sample));
    match encoding {
        Encoding::Mulaw => bytes.extend(samples.map(mulaw)),
        Encoding::Alaw => bytes.extend(samples.map(alaw)),
        _ => bytes.extend(samples.flat_map(i16::to_le_bytes)),
    }
}

/// A sample by ITU-T G.711, mu-law: sign, exponent and mantissa of 14 bits with a bias, inverted.
fn mulaw(sample: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(sample).abs().min(CLIP) + BIAS;
    let exponent = (31 - magnitude.leading_zeros() as i32) - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}

/// A sample by ITU-T G.711, A-law: of 13 bits: sign, exponent and mantissa, every other bit inverted.
fn alaw(sample: i16) -> u8 {
    const TOGGLE: u8 = 0x55;
    let sign = if sample < 0 { 0 } else { 0x80 };
    // One less than zero is the smallest negative step.
    let magnitude = i32::from(if sample < 0 { !sample } else { sample }) >> 3;
    let code = if magnitude < 32 {
        magnitude >> 1
    } else {
        let exponent = (31 - magnitude.leading_zeros() as i32) - 4;
        (exponent << 4) | ((magnitude >> exponent) & 0x0f)
    };
    (sign | code as u8) ^ TOGGLE
}

/// A RIFF header (Microsoft's WAVE) of `data_bytes` bytes of samples. One that cannot tell its
/// length says the most, as writers of streams do.
fn riff(tag: u16, rate: u32, channels: u16, sample_bytes: u16, data_bytes: usize) -> Vec<u8> {
    const HEADER_BYTES: u32 = 36; // behind the first two fields
    let frame_bytes = channels * sample_bytes;
    let data_bytes = u32::try_from(data_bytes).unwrap_or(u32::MAX - HEADER_BYTES);
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend((data_bytes + HEADER_BYTES).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend(tag.to_le_bytes());
    header.extend(channels.to_le_bytes());
    header.extend(rate.to_le_bytes());
    header.extend((rate * u32::from(frame_bytes)).to_le_bytes());
    header.extend(frame_bytes.to_le_bytes());
    header.extend((sample_bytes * 8).to_le_bytes());
    header.extend(b"data");
    header.extend(data_bytes.to_le_bytes());
    header
}

/// Samples of 16 bits, little-endian, as a file. At most eight channels.
pub(super) fn wav_of_pcm(sample_rate: u32, channels: u16, samples: &[u8]) -> Vec<u8> {
    let header = riff(1, sample_rate, channels, 2, samples.len());
    [&header[..], samples].concat()
}

fn mp3(sample_rate: u32, bit_rate: u32) -> Result<mp3lame_encoder::Encoder, Failure> {
    let rate = match bit_rate {
        32_000 => Bitrate::Kbps32,
        48_000 => Bitrate::Kbps48,
        64_000 => Bitrate::Kbps64,
        other => return Err(wrong(&format!("{other} bits a second"))),
    };
    let mut builder = Builder::new().ok_or_else(|| wrong(&"no memory for LAME"))?;
    let mut build = || {
        builder.set_num_channels(1)?;
        builder.set_sample_rate(sample_rate)?;
        builder.set_brate(rate)?;
        builder.set_quality(Quality::Good)?;
        // Its place is the first frame, which has left long before its numbers are known.
        builder.set_to_write_vbr_tag(false)
    };
    build().map_err(|error| wrong(&error))?;
    builder.build().map_err(|error| wrong(&error))
}

fn flac(sample_rate: u32, samples: &[i32]) -> Result<Vec<u8>, Failure> {
    use flacenc::component::BitRepr;
    use flacenc::error::Verify;

    let config = flacenc::config::Encoder::default().into_verified();
    let config = config.map_err(|(_, error)| wrong(&error))?;
    let source = flacenc::source::MemSource::from_samples(samples, 1, 16, sample_rate as usize);
    let stream = flacenc::encode_with_fixed_block_size(&config, source, FLAC_BLOCK_SAMPLES);
    let stream = stream.map_err(|error| wrong(&error))?;
    let mut sink = flacenc::bitsink::ByteSink::new();
    stream.write(&mut sink).map_err(|error| wrong(&error))?;
    Ok(sink.as_slice().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_gives_the_codes_of_its_tables() {
        for (sample, mu, a) in [
            (0, 0xff, 0xd5),
            (-1, 0x7f, 0x55),
            (32_767, 0x80, 0xaa),
            (-32_768, 0x00, 0x2a),
            (1000, 0xce, 0xfa),
            (-1000, 0x4e, 0x7a),
        ] {
            assert_eq!((mulaw(sample), alaw(sample)), (mu, a), "{sample}");
        }
    }
}
