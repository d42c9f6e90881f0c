"""A GGUF of random 16-bit weights in the shape of Llama 3.2 1B, for races where only speed counts.

shape1b.py SOURCE OUT: its tokenizer and vocabulary are those of the GGUF file SOURCE.
"""

import sys

import gguf
import numpy as np

LAYERS, HIDDEN, INNER, HEADS, KV_HEADS = 16, 2048, 8192, 32, 8
KV_WIDTH = HIDDEN // HEADS * KV_HEADS


def main():
    source, out = gguf.GGUFReader(sys.argv[1]), sys.argv[2]
    vocabulary = int(source.get_field("llama.vocab_size").contents())
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(8192)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    for field in source.fields.values():
        if field.name.startswith("tokenizer."):
            if field.types[0] == gguf.GGUFValueType.ARRAY:
                writer.add_array(field.name, field.contents())
            else:
                writer.add_key_value(field.name, field.contents(), field.types[0])
    random = np.random.default_rng(0)

    def weight(name, outputs, inputs):
        values = random.standard_normal((outputs, inputs), dtype=np.float32) * 0.02
        writer.add_tensor(f"{name}.weight", values.astype(np.float16))

    def norm(name):
        writer.add_tensor(f"{name}.weight", np.ones(HIDDEN, np.float32))

    weight("token_embd", vocabulary, HIDDEN)
    norm("output_norm")
    for layer in range(LAYERS):
        within = f"blk.{layer}."
        norm(within + "attn_norm")
        norm(within + "ffn_norm")
        for name, outputs, inputs in [
            ("attn_q", HIDDEN, HIDDEN),
            ("attn_k", KV_WIDTH, HIDDEN),
            ("attn_v", KV_WIDTH, HIDDEN),
            ("attn_output", HIDDEN, HIDDEN),
            ("ffn_gate", INNER, HIDDEN),
            ("ffn_up", INNER, HIDDEN),
            ("ffn_down", HIDDEN, INNER),
        ]:
            weight(within + name, outputs, inputs)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
