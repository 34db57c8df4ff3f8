/* SPDX-License-Identifier: MIT */
#ifndef SHIMPORT_TESTS_FUZZ_H
#define SHIMPORT_TESTS_FUZZ_H

/*
 * What the fuzz targets share. A target is one file that defines LLVMFuzzerTestOneInput(), and a mutator that knows
 * its format where one pays. It is linked twice: with libFuzzer, which looks for inputs (`make fuzz`), and with
 * replay.c, which tries those that are kept in corpus/ (`make check`). An input that does harm ends the process, by a
 * sanitizer's report or by abort().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

/* libFuzzer's own; not there when inputs are replayed, and then not called. */
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

#define FUZZ_CHECK(condition)                                                                          \
        do {                                                                                           \
                if (!(condition)) {                                                                    \
                        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
                        abort();                                                                       \
                }                                                                                      \
        } while (0)

/* Bytes of the input, taken from its front. What is not there any more is zero. */
typedef struct FuzzInput {
        const uint8_t *data;
        size_t size;
} FuzzInput;

static inline const uint8_t *fuzz_bytes(FuzzInput *input, size_t wanted, size_t *ret_size) {
        const uint8_t *bytes = input->data;

        *ret_size = wanted < input->size ? wanted : input->size;
        input->data += *ret_size;
        input->size -= *ret_size;
        return bytes;
}

static inline uint32_t fuzz_number(FuzzInput *input, size_t bytes) {
        uint32_t number = 0;
        const uint8_t *data;
        size_t size;

        data = fuzz_bytes(input, bytes, &size);
        memcpy(&number, data, size);
        return number;
}

static inline uint32_t fuzz_random(unsigned *state) {
        *state = *state * 1664525u + 1013904223u;
        return *state >> 8;
}

/* A number of the kind that goes wrong, for something that is about `size` long and holds `word` now. */
static inline uint32_t fuzz_odd_number(unsigned *state, uint32_t size, uint32_t word) {
        switch (fuzz_random(state) % 12) {
        case 0:
                return 0;
        case 1:
                return 1;
        case 2:
                return UINT32_MAX;
        case 3:
                return size;
        case 4:
                return size - 1;
        case 5:
                return size + 1;
        case 6:
                return word + 1;
        case 7:
                return word - 1;
        case 8:
                return UINT32_C(1) << (fuzz_random(state) % 32);
        case 9:
                return word ^ UINT32_C(1) << (fuzz_random(state) % 32);
        case 10:
                return fuzz_random(state) % 64;
        default:
                return fuzz_random(state) << 8 ^ fuzz_random(state);
        }
}

/* Change one 32-bit word, at a multiple of four. */
static inline void fuzz_change_word(uint8_t *data, size_t size, size_t at, unsigned *state) {
        uint32_t word;

        if (at + sizeof(word) > size)
                return;
        memcpy(&word, data + at, sizeof(word));
        word = fuzz_odd_number(state, (uint32_t)size, word);
        memcpy(data + at, &word, sizeof(word));
}

#endif
