//! A CTranslate2 Whisper model with one layer a side, made up but complete; shared by unit and crate tests.

/// Sizes that every published checkpoint of this family has; the rest is as small as it can be.
pub(crate) const MEL_BINS: u32 = 80;
pub(crate) const ENCODER_POSITIONS: u32 = 1500;
pub(crate) const DECODER_POSITIONS: u32 = 448;
pub(crate) const WIDTH: u32 = 4;
pub(crate) const HEADS: u16 = 2;
/// Below OpenAI's 51 865 tokens a model is English only.
pub(crate) const ENGLISH_VOCABULARY: u32 = 1700;
pub(crate) const MULTILINGUAL_VOCABULARY: u32 = 51_865;

const F16: u8 = 4;
const I16: u8 = 2;

/// One variable of a `model.bin`.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) shape: Vec<u32>,
    pub(crate) kind: u8,
    pub(crate) data: Vec<u8>,
}

/// The variables of a model with `vocabulary` tokens, in no particular order.
pub(crate) fn variables(vocabulary: u32) -> Vec<Made> {
    let mut all = Vec::new();
    let mut next = 0u32;
    let mut add = |name: String, shape: &[u32]| {
        let count: u32 = shape.iter().product();
        // Whatever differs from element to element and from variable to variable will do.
        let data = (0..count * 2)
            .map(|_| {
                next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (next >> 24) as u8
            })
            .collect();
        all.push(Made {
            name,
            shape: shape.to_vec(),
            kind: F16,
            data,
        });
    };
    let (w, f) = (WIDTH, 4 * WIDTH);
    for (side, positions) in [
        ("encoder", ENCODER_POSITIONS),
        ("decoder", DECODER_POSITIONS),
    ] {
        add(
            format!("{side}/position_encodings/encodings"),
            &[positions, w],
        );
        let layer = format!("{side}/layer_0");
        let mut norms = vec![
            format!("{side}/layer_norm"),
            format!("{layer}/ffn/layer_norm"),
        ];
        norms.push(format!("{layer}/self_attention/layer_norm"));
        let mut linears = vec![
            (format!("{layer}/self_attention/linear_0"), 3 * w, w),
            (format!("{layer}/self_attention/linear_1"), w, w),
            (format!("{layer}/ffn/linear_0"), f, w),
            (format!("{layer}/ffn/linear_1"), w, f),
        ];
        if side == "decoder" {
            norms.push(format!("{layer}/attention/layer_norm"));
            linears.push((format!("{layer}/attention/linear_0"), w, w));
            linears.push((format!("{layer}/attention/linear_1"), 2 * w, w));
            linears.push((format!("{layer}/attention/linear_2"), w, w));
        }
        for norm in norms {
            add(format!("{norm}/gamma"), &[w]);
            add(format!("{norm}/beta"), &[w]);
        }
        for (linear, rows, columns) in linears {
            add(format!("{linear}/weight"), &[rows, columns]);
            add(format!("{linear}/bias"), &[rows]);
        }
    }
    for (convolution, channels) in [("conv1", MEL_BINS), ("conv2", w)] {
        add(format!("encoder/{convolution}/weight"), &[w, channels, 3]);
        add(format!("encoder/{convolution}/bias"), &[w]);
    }
    add("decoder/embeddings/weight".to_owned(), &[vocabulary, w]);
    for side in ["encoder", "decoder"] {
        all.push(Made {
            name: format!("{side}/num_heads"),
            shape: Vec::new(),
            kind: I16,
            data: HEADS.to_le_bytes().to_vec(),
        });
    }
    // Whisper's key has no bias.
    let row = 2 * WIDTH as usize;
    for (name, key) in [
        ("encoder/layer_0/self_attention/linear_0/bias", row),
        ("decoder/layer_0/self_attention/linear_0/bias", row),
        ("decoder/layer_0/attention/linear_1/bias", 0),
    ] {
        let bias = all.iter_mut().find(|made| made.name == name);
        bias.expect("it was made above").data[key..key + row].fill(0);
    }
    all
}

/// The bytes of a `model.bin`.
pub(crate) fn model(variables: &[Made]) -> Vec<u8> {
    let mut bytes = 6u32.to_le_bytes().to_vec();
    string(&mut bytes, "WhisperSpec");
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((variables.len() as u32).to_le_bytes());
    for made in variables {
        string(&mut bytes, &made.name);
        bytes.push(made.shape.len() as u8);
        for dimension in &made.shape {
            bytes.extend(dimension.to_le_bytes());
        }
        bytes.push(made.kind);
        bytes.extend((made.data.len() as u32).to_le_bytes());
        bytes.extend(&made.data);
    }
    bytes.extend(1u32.to_le_bytes());
    string(&mut bytes, "decoder/projection/weight");
    string(&mut bytes, "decoder/embeddings/weight");
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16 + 1).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

/// CTranslate2's config.json; the ids to suppress are out of order on purpose.
pub(crate) const CONFIG: &str = r#"{"alignment_heads": [[0, 1], [0, 0]], "lang_ids": [], "suppress_ids": [9, 2, 7, 1],
 "suppress_ids_begin": [220, 5]}"#;

/// A tokenizer.json with the tokens that steer the decoder.
pub(crate) fn tokenizer(vocabulary: u32) -> String {
    // 106 tokens from the end of text to `no timestamps`, then 1 501 time stamps.
    let end = vocabulary - 1608;
    let last = vocabulary - 1502;
    let tokens = [
        (end, "<|endoftext|>"),
        (end + 1, "<|startoftranscript|>"),
        (end + 2, "<|en|>"),
        (end + 3, "<|haw|>"),
        (last - 5, "<|translate|>"),
        (last - 4, "<|transcribe|>"),
        (last - 3, "<|startoflm|>"),
        (last - 2, "<|startofprev|>"),
        (last - 1, "<|nocaptions|>"),
        (last, "<|notimestamps|>"),
    ];
    let tokens: Vec<String> = tokens
        .iter()
        .map(|(id, content)| format!(r#"{{"id": {id}, "content": "{content}", "special": true}}"#))
        .collect();
    format!(
        r#"{{"version": "1.0", "added_tokens": [{}]}}"#,
        tokens.join(", ")
    )
}
