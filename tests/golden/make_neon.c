// What the NEON intrinsics of arm_neon.h answer, for `crates/kernels/src/neon/reference.rs`. On Debian 12:
//
//   apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
//   aarch64-linux-gnu-gcc -O2 -static -march=armv8.2-a+dotprod+i8mm make_neon.c -o make_neon
//   qemu-aarch64 -cpu max ./make_neon > neon/results.txt
//
// A line is the intrinsic, its arguments, `=`, and its result, as the bytes that lie
// in memory.
#include <arm_neon.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { ROUNDS = 8 };

static uint64_t state = 1;

static uint32_t draw(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}

static void fill_bytes(void *into, size_t size) {
  static const uint8_t odd[] = {0, 1, 127, 128, 129, 255};
  for (size_t at = 0; at < size; at++)
    ((uint8_t *)into)[at] = draw() % 3 ? draw() : odd[draw() % sizeof odd];
}

static void fill_floats(void *into, size_t size) {
  static const float odd[] = {0.0f, -0.0f, 0.5f, 1.5f, -2.5f, 1e-45f, -1e-39f, 3e38f, -3e38f, 2147483648.0f,
                              -2147483904.0f, 8388609.0f, __builtin_inff(), -__builtin_inff(), __builtin_nanf("")};
  for (size_t at = 0; at < size / sizeof(float); at++) {
    float value = draw() % 2 ? ((int32_t)draw() - (1 << 30)) / 1e7f : odd[draw() % (sizeof odd / sizeof *odd)];
    memcpy((uint8_t *)into + at * sizeof value, &value, sizeof value);
  }
}

#define FILL(value) _Generic((value), float32x4_t: fill_floats, float: fill_floats, default: fill_bytes)(&(value), sizeof(value))

static void show(const void *value, size_t size) {
  putchar(' ');
  for (size_t at = 0; at < size; at++)
    printf("%02x", ((const uint8_t *)value)[at]);
}

#define SHOW(value) show(&(value), sizeof(value))
#define END(result) fputs(" =", stdout), SHOW(result), putchar('\n')

#define ONE(name, call, A) for (int round = 0; round < ROUNDS; round++) { \
    A a; FILL(a); fputs(name, stdout); SHOW(a); __auto_type result = call; END(result); }
#define TWO(name, call, A, B) for (int round = 0; round < ROUNDS; round++) { \
    A a; B b; FILL(a); FILL(b); fputs(name, stdout); SHOW(a); SHOW(b); __auto_type result = call; END(result); }
#define THREE(name, call, A, B, C) for (int round = 0; round < ROUNDS; round++) { \
    A a; B b; C c; FILL(a); FILL(b); FILL(c); fputs(name, stdout); SHOW(a); SHOW(b); SHOW(c); \
    __auto_type result = call; END(result); }

#define UNARY(name, A) ONE(#name, name(a), A)
#define BINARY(name, A, B) TWO(#name, name(a, b), A, B)
#define TERNARY(name, A, B, C) THREE(#name, name(a, b, c), A, B, C)

int main(void) {
  BINARY(vaddq_f32, float32x4_t, float32x4_t)
  BINARY(vaddq_s32, int32x4_t, int32x4_t)
  BINARY(vandq_u8, uint8x16_t, uint8x16_t)
  BINARY(vandq_u32, uint32x4_t, uint32x4_t)
  TERNARY(vbslq_f32, uint32x4_t, float32x4_t, float32x4_t)
  BINARY(vceqq_f32, float32x4_t, float32x4_t)
  BINARY(vcgtq_f32, float32x4_t, float32x4_t)
  BINARY(vcltq_f32, float32x4_t, float32x4_t)
  BINARY(vcombine_s8, int8x8_t, int8x8_t)
  BINARY(vcombine_s16, int16x4_t, int16x4_t)
  UNARY(vcvt_f32_f16, float16x4_t)
  UNARY(vcvtq_f32_s32, int32x4_t)
  UNARY(vcvtq_s32_f32, float32x4_t)
  BINARY(vdivq_f32, float32x4_t, float32x4_t)
  THREE("vdotq_lane_s32::<0>", vdotq_lane_s32(a, b, c, 0), int32x4_t, int8x16_t, int8x8_t)
  THREE("vdotq_lane_s32::<1>", vdotq_lane_s32(a, b, c, 1), int32x4_t, int8x16_t, int8x8_t)
  UNARY(vdupq_n_f32, float)
  UNARY(vdupq_n_s8, int8_t)
  UNARY(vdupq_n_s32, int32_t)
  UNARY(vdupq_n_u8, uint8_t)
  BINARY(veorq_u8, uint8x16_t, uint8x16_t)
  TERNARY(vfmaq_f32, float32x4_t, float32x4_t, float32x4_t)
  TERNARY(vfmaq_n_f32, float32x4_t, float32x4_t, float)
  UNARY(vmovl_u16, uint16x4_t)
  BINARY(vmulq_f32, float32x4_t, float32x4_t)
  BINARY(vmulq_n_f32, float32x4_t, float)
  BINARY(vorrq_u8, uint8x16_t, uint8x16_t)
  UNARY(vqmovn_s16, int16x8_t)
  UNARY(vqmovn_s32, int32x4_t)
  UNARY(vreinterpret_f16_u16, uint16x4_t)
  UNARY(vreinterpretq_f32_s32, int32x4_t)
  UNARY(vreinterpretq_f32_u32, uint32x4_t)
  UNARY(vreinterpretq_s8_u8, uint8x16_t)
  UNARY(vreinterpretq_u8_u32, uint32x4_t)
  UNARY(vreinterpretq_u32_f32, float32x4_t)
  UNARY(vreinterpretq_u32_u8, uint8x16_t)
  UNARY(vrndnq_f32, float32x4_t)
  ONE("vshlq_n_s32::<8>", vshlq_n_s32(a, 8), int32x4_t)
  ONE("vshlq_n_s32::<23>", vshlq_n_s32(a, 23), int32x4_t)
  ONE("vshlq_n_u32::<16>", vshlq_n_u32(a, 16), uint32x4_t)
  BINARY(vshlq_u8, uint8x16_t, int8x16_t)
  ONE("vshrq_n_u8::<4>", vshrq_n_u8(a, 4), uint8x16_t)
  BINARY(vsubq_f32, float32x4_t, float32x4_t)
  THREE("vusdotq_lane_s32::<0>", vusdotq_lane_s32(a, b, c, 0), int32x4_t, uint8x16_t, int8x8_t)
  THREE("vusdotq_lane_s32::<1>", vusdotq_lane_s32(a, b, c, 1), int32x4_t, uint8x16_t, int8x8_t)
  TERNARY(vusmmlaq_s32, int32x4_t, uint8x16_t, int8x16_t)
  BINARY(vuzp1q_s32, int32x4_t, int32x4_t)
  BINARY(vuzp2q_s32, int32x4_t, int32x4_t)
  BINARY(vzip1q_u32, uint32x4_t, uint32x4_t)
  BINARY(vzip2q_u32, uint32x4_t, uint32x4_t)
}
