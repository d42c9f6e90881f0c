//! Sounds and pictures, given and made.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};
use proptest::prelude::*;
use tasks::{
    ClassifyImage, Describe, DescribeEvent, DescribeRequest, Detect, Failure, Finish, ImageFile,
    Paint, PaintEvent, PaintRequest, Picture, Question, SampleFormat, Sampling, Transcribe,
    TranscribeEvent, TranscribeOptions, TranscribeRequest, Turn, TurnRequest,
};

use crate::ask::{all, one};

/// A WAV file of one channel of 16-bit samples at 16 kHz.
fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        file.extend(half.to_le_bytes());
    }
    for word in [16_000_u32, 32_000] {
        file.extend(word.to_le_bytes());
    }
    for half in [2_u16, 16] {
        file.extend(half.to_le_bytes());
    }
    file.extend(b"data");
    file.extend(bytes.to_le_bytes());
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

fn loud(samples: usize) -> Vec<u8> {
    let wave: Vec<i16> = (0..samples).map(|n| (n % 80) as i16 * 200).collect();
    wav(&wave)
}

fn listen(audio: Vec<u8>, options: TranscribeOptions) -> Result<Vec<TranscribeEvent>, Failure> {
    all::<Transcribe>(TranscribeRequest { audio, options })
}

#[test]
fn sound_is_transcribed_over_its_length() {
    let options = TranscribeOptions {
        words: true,
        language: Some("fr".into()),
        prefix: Some("So".into()),
        ..TranscribeOptions::default()
    };
    let events = listen(loud(32_000), options).unwrap();
    let [
        TranscribeEvent::Segment {
            start,
            end,
            text,
            words,
            decoding: Some(_),
        },
        TranscribeEvent::Done {
            duration, language, ..
        },
    ] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((*start, *end, *duration), (0.0, 2.0, 2.0));
    assert_eq!(language, "fr");
    assert_eq!(
        text,
        " So This is a stub transcript of 2.0 seconds of sound."
    );
    assert_eq!(
        words
            .iter()
            .map(|word| word.word.as_str())
            .collect::<String>(),
        *text
    );
    assert!(
        words
            .windows(2)
            .all(|pair| pair[0].start < pair[0].end && pair[0].end <= pair[1].start + 1e-5)
    );
    assert!((words[10].end - 2.0).abs() < 1e-4 && words.len() == 11);
}

#[test]
fn silence_has_no_words_and_what_is_no_sound_is_refused() {
    let options = TranscribeOptions {
        vad_filter: true,
        ..TranscribeOptions::default()
    };
    let events = listen(wav(&vec![0; 16_000]), options).unwrap();
    assert!(
        matches!(
            &events[..],
            [TranscribeEvent::Done { duration, duration_after_vad, .. }]
                if (*duration - 1.0).abs() < 1e-6 && *duration_after_vad == 0.0
        ),
        "{events:?}"
    );
    for file in [Vec::new(), b"no sound".to_vec(), wav(&[]), vec![0; 4096]] {
        let refused = listen(file.clone(), TranscribeOptions::default());
        assert!(matches!(refused, Err(Failure::BadInput(_))), "{refused:?}");
        let turn = TurnRequest {
            audio: file,
            samples: None,
        };
        assert!(matches!(one::<Turn>(turn), Err(Failure::BadInput(_))));
    }
}

#[test]
fn a_turn_is_heard_in_files_and_in_samples() {
    let heard = one::<Turn>(TurnRequest {
        audio: loud(8_000),
        samples: None,
    });
    assert!((heard.unwrap().seconds - 0.5).abs() < 1e-6);
    for (samples, bytes, middle) in [
        (SampleFormat::Uint8, 1, 128),
        (SampleFormat::Float32, 4, 0),
        (SampleFormat::Float64, 8, 0),
    ] {
        let turn = |audio| TurnRequest {
            audio,
            samples: Some(samples),
        };
        let heard = one::<Turn>(turn(vec![middle; 16_000 * bytes])).unwrap();
        assert!((heard.seconds - 1.0).abs() < 1e-6 && heard.probability > 0.9);
        let odd = one::<Turn>(turn(vec![7; 8 * bytes + bytes / 2]));
        assert_eq!(odd.is_err(), bytes > 1);
    }
}

fn painting(prompt: &str) -> PaintRequest {
    PaintRequest {
        prompt: prompt.into(),
        negative_prompt: None,
        width: Some(64),
        height: Some(48),
        steps: 3,
        guidance: None,
        strength: 1.0,
        seed: Some(1),
        images: Vec::new(),
        mask: None,
    }
}

fn paint(request: PaintRequest) -> Result<(Vec<u32>, Picture), Failure> {
    let mut steps = Vec::new();
    for event in all::<Paint>(request)? {
        match event {
            PaintEvent::Step(step) => steps.push(step),
            PaintEvent::Done(picture) => return Ok((steps, picture)),
        }
    }
    panic!("no picture")
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]));
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, format).unwrap();
    file.into_inner()
}

#[test]
fn a_painting_has_its_size_its_steps_and_follows_from_the_request() {
    let (steps, picture) = paint(painting("a fox")).unwrap();
    assert_eq!(steps, [1, 2, 3]);
    assert_eq!((picture.width, picture.height), (64, 48));
    assert_eq!(picture.rgb.len(), 64 * 48 * 3);
    assert_eq!(paint(painting("a fox")).unwrap().1, picture);
    for other in [
        painting("a dog"),
        PaintRequest {
            seed: Some(2),
            ..painting("a fox")
        },
        PaintRequest {
            images: vec![encoded(8, 8, ImageFormat::Png)],
            ..painting("a fox")
        },
    ] {
        assert_ne!(paint(other).unwrap().1, picture);
    }
    let own = PaintRequest {
        width: None,
        height: None,
        ..painting("a fox")
    };
    let (_, picture) = paint(own).unwrap();
    assert_eq!((picture.width, picture.height), (1024, 1024));
}

#[test]
fn paintings_beyond_limits_and_broken_images_are_refused() {
    let huge = huge_png();
    let wrong = [
        PaintRequest {
            width: Some(0),
            ..painting("")
        },
        PaintRequest {
            height: Some(u32::MAX),
            ..painting("")
        },
        PaintRequest {
            steps: u32::MAX,
            ..painting("")
        },
        PaintRequest {
            images: vec![b"no picture".to_vec()],
            ..painting("")
        },
        PaintRequest {
            images: vec![huge],
            ..painting("")
        },
        PaintRequest {
            mask: Some(encoded(32, 32, ImageFormat::Png)[..200].to_vec()),
            ..painting("")
        },
    ];
    for request in wrong {
        let refused = paint(request);
        assert!(matches!(refused, Err(Failure::BadInput(_))), "{refused:?}");
    }
}

/// A header of 50 000 by 50 000 pixels, and nothing more.
fn huge_png() -> Vec<u8> {
    let mut file = encoded(1, 1, ImageFormat::Png);
    file[16..20].copy_from_slice(&50_000_u32.to_be_bytes());
    file[20..24].copy_from_slice(&50_000_u32.to_be_bytes());
    let mut crc = u32::MAX;
    for byte in &file[12..29] {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    file[29..33].copy_from_slice(&(!crc).to_be_bytes());
    file
}

fn describe(question: Question, max_tokens: u32) -> Vec<DescribeEvent> {
    let request = DescribeRequest {
        image: Some(ImageFile {
            bytes: encoded(40, 30, ImageFormat::Png),
        }),
        question,
        raw: false,
        reasoning: true,
        max_tokens,
        max_objects: 2,
        sampling: Sampling::greedy(),
    };
    all::<Describe>(request).unwrap()
}

#[test]
fn a_picture_is_described_in_words_points_and_boxes() {
    let events = describe(Question::Query("What is it?".into()), 100);
    let text: String = events
        .iter()
        .filter_map(|event| match event {
            DescribeEvent::Text(piece) => Some(piece.as_str()),
            _ => None,
        })
        .collect();
    assert!(text.contains("stub") && text.contains("40 x 30") && text.contains("What is it?"));
    assert!(matches!(events[0], DescribeEvent::Reasoning(_)));
    assert_eq!(events, describe(Question::Query("What is it?".into()), 100));
    let cut = describe(Question::Caption("short".into()), 9);
    let Some(DescribeEvent::Done { finish, usage }) = cut.last() else {
        panic!("{cut:?}")
    };
    assert_eq!((*finish, usage.completion_tokens), (Finish::Length, 9));
    let points = describe(Question::Point("cat".into()), 100);
    let inside = |share: &f32| (0.0..=1.0).contains(share);
    assert!(
        points
            .iter()
            .any(|event| matches!(event, DescribeEvent::Points(found)
        if (1..=2).contains(&found.len()) && found.iter().flatten().all(inside)))
    );
    let boxes = describe(Question::Detect("cat".into()), 100);
    assert!(
        boxes
            .iter()
            .any(|event| matches!(event, DescribeEvent::Boxes(found)
        if (1..=2).contains(&found.len()) && found.iter().flatten().all(inside)))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn labels_and_boxes_are_of_the_picture(width in 1..200_u32, height in 1..200_u32, is_png in any::<bool>()) {
        let format = if is_png { ImageFormat::Png } else { ImageFormat::Jpeg };
        let image = ImageFile { bytes: encoded(width, height, format) };
        let labels = one::<ClassifyImage>(image.clone()).unwrap().0;
        prop_assert_eq!(labels.len(), 5);
        prop_assert!(labels.windows(2).all(|pair| pair[0].score >= pair[1].score));
        prop_assert!(labels.iter().map(|label| label.score).sum::<f32>() <= 1.0);
        let objects = one::<Detect>(image.clone()).unwrap();
        prop_assert_eq!((objects.width, objects.height), (width, height));
        prop_assert!(!objects.objects.is_empty());
        for object in &objects.objects {
            let [left, top, right, bottom] = object.bounds;
            prop_assert!(0.0 <= left && left < right && right <= 1.0);
            prop_assert!(0.0 <= top && top < bottom && bottom <= 1.0);
        }
        prop_assert_eq!(objects, one::<Detect>(image).unwrap());
    }

    #[test]
    fn bytes_that_are_no_file_are_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..600), head in 0..4_usize) {
        let heads = [&b""[..], b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x24\x00\x00\x00WAVEfmt "];
        let file: Vec<u8> = heads[head].iter().copied().chain(bytes).collect();
        let refused = one::<ClassifyImage>(ImageFile { bytes: file.clone() });
        prop_assert!(matches!(refused, Err(Failure::BadInput(_))), "{:?}", refused);
        let heard = listen(file, TranscribeOptions::default());
        prop_assert!(!matches!(heard, Err(Failure::Internal(_))), "{:?}", heard);
    }
}
