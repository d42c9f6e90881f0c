//! The hundred languages of M2M-100 (Fan et al. 2020, "Beyond English-Centric Multilingual Machine
//! Translation", and the list of its published checkpoints), by code and by English name.

/// Codes, mostly of ISO 639-1, and names; of several names each will do.
const LANGUAGES: &[(&str, &[&str])] = &[
    ("af", &["afrikaans"]),
    ("am", &["amharic"]),
    ("ar", &["arabic"]),
    ("ast", &["asturian"]),
    ("az", &["azerbaijani"]),
    ("ba", &["bashkir"]),
    ("be", &["belarusian"]),
    ("bg", &["bulgarian"]),
    ("bn", &["bengali"]),
    ("br", &["breton"]),
    ("bs", &["bosnian"]),
    ("ca", &["catalan", "valencian"]),
    ("ceb", &["cebuano"]),
    ("cs", &["czech"]),
    ("cy", &["welsh"]),
    ("da", &["danish"]),
    ("de", &["german"]),
    ("el", &["greek"]),
    ("en", &["english"]),
    ("es", &["spanish"]),
    ("et", &["estonian"]),
    ("fa", &["persian", "farsi"]),
    ("ff", &["fulah"]),
    ("fi", &["finnish"]),
    ("fr", &["french"]),
    ("fy", &["western frisian", "frisian"]),
    ("ga", &["irish"]),
    ("gd", &["gaelic", "scottish gaelic"]),
    ("gl", &["galician"]),
    ("gu", &["gujarati"]),
    ("ha", &["hausa"]),
    ("he", &["hebrew"]),
    ("hi", &["hindi"]),
    ("hr", &["croatian"]),
    ("ht", &["haitian", "haitian creole"]),
    ("hu", &["hungarian"]),
    ("hy", &["armenian"]),
    ("id", &["indonesian"]),
    ("ig", &["igbo"]),
    ("ilo", &["iloko"]),
    ("is", &["icelandic"]),
    ("it", &["italian"]),
    ("ja", &["japanese"]),
    ("jv", &["javanese"]),
    ("ka", &["georgian"]),
    ("kk", &["kazakh"]),
    ("km", &["central khmer", "khmer"]),
    ("kn", &["kannada"]),
    ("ko", &["korean"]),
    ("lb", &["luxembourgish", "letzeburgesch"]),
    ("lg", &["ganda"]),
    ("ln", &["lingala"]),
    ("lo", &["lao"]),
    ("lt", &["lithuanian"]),
    ("lv", &["latvian"]),
    ("mg", &["malagasy"]),
    ("mk", &["macedonian"]),
    ("ml", &["malayalam"]),
    ("mn", &["mongolian"]),
    ("mr", &["marathi"]),
    ("ms", &["malay"]),
    ("my", &["burmese"]),
    ("ne", &["nepali"]),
    ("nl", &["dutch", "flemish"]),
    ("no", &["norwegian"]),
    ("ns", &["northern sotho"]),
    ("oc", &["occitan"]),
    ("or", &["oriya"]),
    ("pa", &["panjabi", "punjabi"]),
    ("pl", &["polish"]),
    ("ps", &["pushto", "pashto"]),
    ("pt", &["portuguese"]),
    ("ro", &["romanian", "moldavian", "moldovan"]),
    ("ru", &["russian"]),
    ("sd", &["sindhi"]),
    ("si", &["sinhala", "sinhalese"]),
    ("sk", &["slovak"]),
    ("sl", &["slovenian"]),
    ("so", &["somali"]),
    ("sq", &["albanian"]),
    ("sr", &["serbian"]),
    ("ss", &["swati"]),
    ("su", &["sundanese"]),
    ("sv", &["swedish"]),
    ("sw", &["swahili"]),
    ("ta", &["tamil"]),
    ("th", &["thai"]),
    ("tl", &["tagalog"]),
    ("tn", &["tswana"]),
    ("tr", &["turkish"]),
    ("uk", &["ukrainian"]),
    ("ur", &["urdu"]),
    ("uz", &["uzbek"]),
    ("vi", &["vietnamese"]),
    ("wo", &["wolof"]),
    ("xh", &["xhosa"]),
    ("yi", &["yiddish"]),
    ("yo", &["yoruba"]),
    ("zh", &["chinese"]),
    ("zu", &["zulu"]),
];

/// The code of a language that is given by its code or its name, in whatever case.
pub(super) fn code(language: &str) -> Option<&'static str> {
    let is_it = |known: &str| known.eq_ignore_ascii_case(language.trim());
    let mut found = LANGUAGES.iter();
    let (code, _) =
        found.find(|(code, names)| is_it(code) || names.iter().any(|name| is_it(name)))?;
    Some(code)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_a_hundred_and_each_is_found_by_all_its_names() {
        assert_eq!(LANGUAGES.len(), 100);
        let mut seen = HashSet::new();
        for (language, names) in LANGUAGES {
            for name in names.iter().chain([language]) {
                assert!(seen.insert(*name), "{name} twice");
                assert_eq!(code(name), Some(*language));
                assert_eq!(code(&name.to_uppercase()), Some(*language));
            }
        }
        assert_eq!(code("klingon"), None);
        assert_eq!(code(""), None);
    }
}
