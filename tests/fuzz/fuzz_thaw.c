/* SPDX-License-Identifier: MIT */

/*
 * Thaw, in an interpreter of its own. An input is the size and the count of a table of texts, the table, and a block:
 * whatever they say, the block is refused or gives an object that can be walked over and collected.
 *
 * What is thawed lies in an arena that is never given back, so a process can only try so many: tests/fuzz/fuzz.py starts
 * another one then.
 */

#include "../../client/facts.h"

#include "../../client/block.h"
#include "../../client/thaw.h"
#include "fuzz.h"

typedef struct Input {
        uint32_t texts_size, texts_count;
} Input;

#define COLLECT_EACH 64
#define DEPTH_MAX 20

/* Of a block that is refused half-way what was made stays, see thaw.h: that is no leak to look for. */
const char *__asan_default_options(void);

const char *__asan_default_options(void) {
        return "detect_leaks=0";
}

static Arena *arena;
static PyObject *filename;

int LLVMFuzzerInitialize(int *argc, char ***argv) {
        PyPreConfig before;
        PyConfig config;

        (void)argc;
        (void)argv;
        PyPreConfig_InitIsolatedConfig(&before);
        before.allocator = PYMEM_ALLOCATOR_MALLOC; /* the sanitizer's */
        FUZZ_CHECK(!PyStatus_Exception(Py_PreInitialize(&before)));
        PyConfig_InitIsolatedConfig(&config);
        config.site_import = 0;
        FUZZ_CHECK(!PyStatus_Exception(Py_InitializeFromConfig(&config)));
        PyConfig_Clear(&config);
        if (thaw_supported()) {
                printf("%s\n", thaw_supported());
                exit(77);
        }
        FUZZ_CHECK(arena_new(&arena) == 0);
        filename = PyUnicode_FromString("/fuzz/module.py");
        FUZZ_CHECK(filename);
        return 0;
}

static void look_at(PyObject *object, unsigned depth);

static void look_at_items(PyObject *tuple, unsigned depth) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
                look_at(PyTuple_GET_ITEM(tuple, i), depth + 1);
}

static void look_at_code(PyCodeObject *code, unsigned depth) {
        PyObject *const slots[] = { code->co_consts,
                                    code->co_names,
                                    code->co_exceptiontable,
                                    code->co_localsplusnames,
                                    code->co_localspluskinds,
                                    code->co_filename,
                                    code->co_name,
                                    code->co_qualname,
                                    code->co_linetable };

        for (size_t i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
                FUZZ_CHECK(slots[i]);
                look_at(slots[i], depth + 1);
        }
}

/* All that an object leads to. Bytecode and its tables are content, which nobody checks: CPython's own marshal writes
 * beyond the end of a copy of code that ends in the middle of an instruction. */
static void look_at(PyObject *object, unsigned depth) {
        PyObject *shown = NULL;

        FUZZ_CHECK(Py_REFCNT(object) > 0);
        if (depth > DEPTH_MAX)
                return;
        if (PyCode_Check(object))
                look_at_code((PyCodeObject *)object, depth);
        else if (PyTuple_Check(object))
                look_at_items(object, depth);
        else if (PyFrozenSet_Check(object))
                FUZZ_CHECK(PySet_GET_SIZE(object) == 0 || (shown = PySequence_Tuple(object)));
        else if (PyUnicode_Check(object))
                PyMem_Free(PyUnicode_AsUCS4Copy(object));
        else
                FUZZ_CHECK((shown = PyObject_Repr(object)) || !PySlice_Check(object));
        if (shown && PyTuple_Check(shown))
                look_at_items(shown, depth);
        Py_XDECREF(shown);
        PyErr_Clear(); /* a number may be too long to be shown */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static unsigned tried;
        uint8_t *texts, *block;
        PyObject *code;
        Thawer *thawer;
        Input input;
        size_t rest;

        if (size < sizeof(input))
                return 0;
        memcpy(&input, data, sizeof(input));
        rest = size - sizeof(input);
        if (input.texts_size > rest)
                return 0;
        rest -= input.texts_size;
        texts = malloc(input.texts_size + 1); /* apart, so that the sanitizer tells one from the other */
        block = malloc(rest + 1);
        FUZZ_CHECK(texts && block);
        memcpy(texts, data + sizeof(input), input.texts_size);
        memcpy(block, data + sizeof(input) + input.texts_size, rest);
        texts = realloc(texts, input.texts_size ? input.texts_size : 1);
        block = realloc(block, rest ? rest : 1);
        if (thawer_new(arena, texts, input.texts_size, input.texts_count, &thawer) == 0) {
                code = thawer_thaw(thawer, block, rest, filename);
                if (code) {
                        look_at(code, 0);
                        Py_DECREF(code);
                }
                FUZZ_CHECK(!code || !PyErr_Occurred());
                PyErr_Clear(); /* a table may ask for more memory than there is */
                thawer_free(thawer);
        }
        free(texts);
        free(block);
        if (++tried % COLLECT_EACH == 0)
                PyGC_Collect();
        return 0;
}

/* Records lie one behind the other: any word may be a head, a count, a reference or content. */
static void change_block(uint8_t *block, size_t size, unsigned *seed) {
        size_t at = fuzz_random(seed) % (size / 4) * 4;
        uint32_t word;

        memcpy(&word, block + at, sizeof(word));
        switch (fuzz_random(seed) % 6) {
        case 0: /* another kind, the same count */
                word = (word & ~31u) | fuzz_random(seed) % 32;
                break;
        case 1: /* another count, the same kind */
                word = (word & 31u) | fuzz_odd_number(seed, (uint32_t)size / 4, word >> BLOCK_KIND_BITS)
                                              << BLOCK_KIND_BITS;
                break;
        case 2: /* a reference to what is near */
                word += fuzz_random(seed) % 16 - 8;
                break;
        case 3: /* an external, of another sort */
                word = fuzz_random(seed) % 16 << BLOCK_PAYLOAD_BITS | fuzz_random(seed) % 64;
                break;
        case 4: /* what is passing stays, and the other way round */
                word ^= BLOCK_PASSING;
                break;
        default:
                word = fuzz_odd_number(seed, (uint32_t)size / 4, word);
        }
        memcpy(block + at, &word, sizeof(word));
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
        uint8_t *block;
        BlockHeader header;
        Input input;
        size_t rest;

        if (fuzz_random(&seed) % 8 == 0)
                size = LLVMFuzzerMutate(data, size, most);
        if (size < sizeof(input))
                return size;
        memcpy(&input, data, sizeof(input));
        rest = size - sizeof(input);
        if (input.texts_size > rest || input.texts_size % 4) {
                input.texts_size = (uint32_t)(rest / 8) * 4;
                memcpy(data, &input, sizeof(input));
        }
        rest -= input.texts_size;
        block = data + sizeof(input) + input.texts_size;
        if (input.texts_size >= 4 && fuzz_random(&seed) % 4 == 0)
                fuzz_change_word(data + sizeof(input), input.texts_size,
                                 fuzz_random(&seed) % input.texts_size / 4 * 4, &seed);
        if (rest < sizeof(header))
                return size;
        for (unsigned n = fuzz_random(&seed) % 4; n > 0; n--)
                change_block(block, rest, &seed);
        if (fuzz_random(&seed) % 8) {
                memcpy(&header, block, sizeof(header));
                header.magic = BLOCK_MAGIC;
                header.words = (uint32_t)(rest / 4);
                memcpy(block, &header, sizeof(header));
        }
        return size;
}
