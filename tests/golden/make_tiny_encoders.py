#!/usr/bin/env python3
"""make_tiny_encoders.py OUT - the golden folders of the text encoders beside tiny-bert-embed: an XLM-RoBERTa for
embeddings and one that reranks, a BERT that reranks, a DistilBERT that classifies, and a Gemma 3 that sees both ways and
a Qwen 3 in the layout of sentence-transformers.

Models with random weights and what transformers computes with them in float32 on the CPU. Needs what make_tiny_text.py
needs, and sentencepiece; the same versions give the same numbers.
"""
import io
import os
import sys
import zlib

import sentencepiece
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

from make_tiny_text import (CHATML, CORPUS, GEMMA, LAYERS, LLAMA, SENTENCES, byte_level_tokenizer, put, random_weights,
                            word_piece_tokenizer, write)

PAIRS = [("What is the capital of France?", "The capital of France is Paris."),
         ("What is the capital of France?", "The quick brown fox jumps over the lazy dog."),
         ("Hello", "A robot that learns to paint")]
# Texts longer than the sliding window.
LONG = SENTENCES + ["You are a helpful assistant. Write a short story about a robot that learns to paint."]
INSTRUCTED = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:capital of France"
SHAPE = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96, attn_implementation="eager")
DENSE_WIDTH = 96


def seed(folder):
    torch.manual_seed(zlib.crc32(os.path.basename(folder).encode()) & 0x7FFFFFFF)


def unigram_tokenizer():
    """XLM-RoBERTa's kind, trained by sentencepiece (the trainer of `tokenizers` does not repeat itself)."""
    special, model = ["<s>", "<pad>", "</s>", "<unk>"], io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=300, model_type="unigram", character_coverage=1.0,
        hard_vocab_limit=False, num_threads=1, minloglevel=2, bos_id=0, pad_id=1, eos_id=2, unk_id=3)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    scored = [(pieces.id_to_piece(i), float(round(pieces.get_score(i), 6))) for i in range(pieces.get_piece_size())]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return tokenizer


def encoded(tokenizer, items, pad):
    rows = [tokenizer.encode(*item) if isinstance(item, tuple) else tokenizer.encode(item) for item in items]
    length = max(len(row.ids) for row in rows)
    fill = lambda row, value: row + [value] * (length - len(row))
    return (torch.tensor([fill(row.ids, pad) for row in rows]), torch.tensor([fill([1] * len(row.ids), 0) for row in rows]),
            torch.tensor([fill(row.type_ids, 0) for row in rows]))


def xlmr_config(tokenizer, **more):
    return transformers.XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=130, type_vocab_size=1, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, layer_norm_eps=1e-5, **SHAPE, **more)


def xlmr_embed(folder):
    tokenizer = unigram_tokenizer()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    model = random_weights(transformers.XLMRobertaModel(xlmr_config(tokenizer)))
    model.save_pretrained(folder, safe_serialization=False)  # as the checkpoint that it stands for is published
    ids, mask, _ = encoded(tokenizer, SENTENCES, 1)
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    put(folder, {"in_input_ids": ids, "in_attention_mask": mask, "out_cls_normalized": F.normalize(hidden[:, 0])},
        {"texts": SENTENCES, "tolerance": 1e-4})


def xlmr_reranker(folder):
    tokenizer = unigram_tokenizer()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    model = random_weights(transformers.XLMRobertaForSequenceClassification(xlmr_config(tokenizer, num_labels=1)))
    model.save_pretrained(folder)
    ids, mask, _ = encoded(tokenizer, PAIRS, 1)
    logits = model(input_ids=ids, attention_mask=mask).logits
    put(folder, {"in_input_ids": ids, "in_attention_mask": mask, "out_logits": logits, "out_scores": torch.sigmoid(logits)},
        {"pairs": PAIRS, "scores": torch.sigmoid(logits)[:, 0].tolist(), "tolerance": 1e-4})


def bert_reranker(folder):
    tokenizer = word_piece_tokenizer()
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    config = transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=128, num_labels=1, **SHAPE)
    model = random_weights(transformers.BertForSequenceClassification(config))
    model.save_pretrained(folder)
    ids, mask, types = encoded(tokenizer, PAIRS, 0)
    logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    put(folder, {"in_input_ids": ids, "in_attention_mask": mask, "in_token_type_ids": types, "out_logits": logits,
                 "out_scores": torch.sigmoid(logits)}, {"pairs": PAIRS, "scores": torch.sigmoid(logits)[:, 0].tolist(), "tolerance": 1e-4})


def distilbert(folder):
    """Its tokenizer is a vocab.txt, as that of the checkpoint that it stands for."""
    tokenizer = word_piece_tokenizer()
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8") as file:
        file.writelines(piece + "\n" for piece, _ in vocabulary)
    write(os.path.join(folder, "tokenizer_config.json"), {"do_lower_case": True, "model_max_length": 128})
    labels = ["NEGATIVE", "POSITIVE"]
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dim=48, n_layers=2, n_heads=4, hidden_dim=96, max_position_embeddings=128,
        id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)}, attn_implementation="eager")
    model = random_weights(transformers.DistilBertForSequenceClassification(config))
    model.save_pretrained(folder)
    ids, mask, _ = encoded(tokenizer, SENTENCES, 0)
    logits = model(input_ids=ids, attention_mask=mask).logits
    put(folder, {"in_input_ids": ids, "in_attention_mask": mask, "out_logits": logits,
                 "out_probabilities": logits.softmax(-1)},
        {"texts": SENTENCES, "probabilities": logits.softmax(-1).tolist(), "tolerance": 1e-4})


def modules(folder, names, pooling):
    """The files of sentence-transformers that say what follows the transformer."""
    kinds = {"1_Pooling": "Pooling", "2_Dense": "Dense", "3_Dense": "Dense"}
    listed = [("", "Transformer"), *((name, kinds[name]) for name in names), ("%d_Normalize" % (len(names) + 1), "Normalize")]
    write(os.path.join(folder, "modules.json"),
          [{"idx": i, "name": str(i), "path": path, "type": "sentence_transformers.models." + kind}
           for i, (path, kind) in enumerate(listed)])
    for name in names:
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    write(os.path.join(folder, "1_Pooling", "config.json"), {
        "word_embedding_dimension": 48, "pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False, "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": pooling == "lasttoken", "include_prompt": True})


def vectors(folder, model, tokenizer, texts, pool):
    """Each text alone, so that no padding takes part."""
    rows, vectors = [tokenizer.encode(text).ids for text in texts], []
    for row in rows:
        hidden = model(input_ids=torch.tensor([row]), use_cache=False).last_hidden_state[0]
        vectors.append(F.normalize(pool(hidden), dim=0))
    put(folder, {"out_normalized": torch.stack(vectors)}, {"texts": texts, "input_ids": rows, "tolerance": 1e-4})


def embeddinggemma(folder):
    special, bos, _, _ = GEMMA
    tokenizer = byte_level_tokenizer(special, bos)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<bos>", "<eos>")])
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    shape = dict(LLAMA, head_dim=16, query_pre_attn_scalar=16, num_hidden_layers=3, layer_types=LAYERS)
    config = transformers.Gemma3TextConfig(vocab_size=tokenizer.get_vocab_size(), sliding_window=8,
                                           use_bidirectional_attention=True, attn_implementation="eager", **shape)
    half = config.sliding_window
    model = random_weights(transformers.Gemma3TextModel(config))
    # The published file holds the whole window, which the class halves when it reads it.
    config.sliding_window = 8
    model.save_pretrained(folder)
    config.sliding_window = half
    modules(folder, ["1_Pooling", "2_Dense", "3_Dense"], "mean")
    weights = []
    for name, inputs, outputs in (("2_Dense", 48, DENSE_WIDTH), ("3_Dense", DENSE_WIDTH, 48)):
        weights.append(torch.randn(outputs, inputs) / inputs ** 0.5)
        save_file({"linear.weight": weights[-1]}, os.path.join(folder, name, "model.safetensors"))
        write(os.path.join(folder, name, "config.json"), {
            "in_features": inputs, "out_features": outputs, "bias": False,
            "activation_function": "torch.nn.modules.linear.Identity"})
    write(os.path.join(folder, "config_sentence_transformers.json"), {
        "prompts": {"query": "task: search result | query: ", "document": "title: none | text: "},
        "default_prompt_name": None, "similarity_fn_name": "cosine"})
    vectors(folder, model, tokenizer, LONG, lambda hidden: weights[1] @ (weights[0] @ hidden.mean(0)))


def qwen3_embedding(folder):
    special, _, _, _ = CHATML
    tokenizer = byte_level_tokenizer(special, None)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))])
    tokenizer.save(os.path.join(folder, "tokenizer.json"))
    config = transformers.Qwen3Config(vocab_size=tokenizer.get_vocab_size(), attn_implementation="eager",
                                      **dict(LLAMA, head_dim=16, tie_word_embeddings=True))
    model = random_weights(transformers.Qwen3Model(config))
    model.save_pretrained(folder)
    modules(folder, ["1_Pooling"], "lasttoken")
    write(os.path.join(folder, "config_sentence_transformers.json"), {
        "prompts": {"query": INSTRUCTED[:INSTRUCTED.index("Query:") + 6], "document": ""},
        "default_prompt_name": None, "similarity_fn_name": "cosine"})
    vectors(folder, model, tokenizer, [*LONG, INSTRUCTED], lambda hidden: hidden[-1])


MODELS = {"tiny-xlmr-embed": xlmr_embed, "tiny-xlmr-reranker": xlmr_reranker, "tiny-bert-reranker": bert_reranker,
          "tiny-distilbert-sst2": distilbert, "tiny-embeddinggemma": embeddinggemma, "tiny-qwen3-embedding": qwen3_embedding}


def main():
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name, make in MODELS.items():
        folder = os.path.join(sys.argv[1], name)
        os.makedirs(folder, exist_ok=True)
        seed(folder)
        make(folder)


if __name__ == "__main__":
    main()
