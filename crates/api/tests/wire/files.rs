//! Files that tests send.

/// A white picture.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Grayscale);
    let mut writer = encoder.write_header().unwrap();
    let pixels = vec![255; (width * height) as usize];
    writer.write_image_data(&pixels).unwrap();
    writer.finish().unwrap();
    file
}

/// A file that says it is a picture of that size, and holds nothing of it.
pub(crate) fn hollow_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = png(1, 1);
    file[16..20].copy_from_slice(&width.to_be_bytes());
    file[20..24].copy_from_slice(&height.to_be_bytes());
    file
}

/// Bytes as a JSON list.
pub(crate) fn numbers(bytes: &[u8]) -> String {
    serde_json::to_string(bytes).unwrap()
}

/// Bytes as `JSON.stringify` writes a `Uint8Array`.
pub(crate) fn indexed(bytes: &[u8]) -> String {
    let pairs = bytes.iter().enumerate();
    let pairs: Vec<_> = pairs
        .map(|(at, byte)| format!(r#""{at}":{byte}"#))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// Bytes as base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The bytes of base64.
pub(crate) fn unbase64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

/// A second of silence: 16 kHz, one channel, 16 bits.
pub(crate) fn wav() -> Vec<u8> {
    let data = vec![0; 32_000];
    let mut file = b"RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(16_000_u32.to_le_bytes());
    file.extend(32_000_u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(32_000_u32.to_le_bytes());
    file.extend(data);
    file
}
