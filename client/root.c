/* SPDX-License-Identifier: MIT */

#include "root.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "shimport.pb-c.h"
#include "util.h"

/* A packet holds many short paths; longer ones than this each are left to stock. */
#define ROOT_PATH_MAX 1024

/* A daemon that has ended is asked again after so long, then after twice as long, and so on. */
#define RECOVER_PAUSE_MS 200
#define RECOVER_PAUSE_MAX_MS 60000

static size_t path_trim(const char *path, size_t length) {
        while (length > 1 && path[length - 1] == '/')
                length--;
        return length;
}

bool root_known(const ModuleState *state, const char *path, size_t length) {
        length = path_trim(path, length);
        for (const Root *root = state->roots; root; root = root->next)
                if (root->path_length == length && memcmp(root->path, path, length) == 0)
                        return true;
        return false;
}

Root *root_find(ModuleState *state, const char *path, size_t length, uint32_t *ret_directory) {
        Root *best = NULL;

        for (Root *root = state->roots; root; root = root->next)
                if (root->path_length <= length && memcmp(root->path, path, root->path_length) == 0 &&
                    (root->path_length == length || path[root->path_length] == '/') &&
                    (!best || best->path_length < root->path_length))
                        best = root;
        if (!best)
                return NULL;
        *ret_directory = IMAGE_NONE;
        if (best->mapping) {
                if (length == best->path_length)
                        *ret_directory = 0;
                else
                        *ret_directory = image_walk(&best->mapping->image, path + best->path_length + 1,
                                                    length - best->path_length - 1);
        }
        return best;
}

static void answer_unmap(AttachRoot *answer) {
        if (answer->image.base)
                munmap((void *)answer->image.base, answer->image.size);
        staleness_done(&answer->staleness);
}

/* Keep an answer, and its mappings. Return: 0, or -1 with an exception, and then they are unmapped. */
static int root_take(Root *root, AttachRoot *answer) {
        char *reason = strdup(answer->reason);
        Mapping *mapping = NULL;

        if (!reason) {
                answer_unmap(answer);
                PyErr_NoMemory();
                return -1;
        }
        if (answer->image.base) {
                mapping = mapping_new_consume(answer->image, answer->staleness);
                if (!mapping) {
                        free(reason);
                        return -1;
                }
                mapping->everywhere = answer->everywhere;
        }
        free(root->reason);
        root->reason = reason;
        root->state = answer->state;
        root->generation = answer->generation;
        root->daemon = answer->daemon;
        root->dev = answer->dev;
        root->ino = answer->ino;
        mapping_unref(root->mapping);
        root->mapping = mapping;
        return 0;
}

static void root_free(Root *root) {
        mapping_unref(root->mapping);
        free(root->path);
        free(root->reason);
        PyMem_Free(root);
}

static int root_add(ModuleState *state, AttachRoot *answer) {
        Root *root = PyMem_Calloc(1, sizeof(*root));

        if (root)
                root->path = strdup(answer->path);
        if (!root || !root->path) {
                PyMem_Free(root);
                answer_unmap(answer);
                PyErr_NoMemory();
                return -1;
        }
        root->path_length = path_trim(root->path, strlen(root->path));
        root->path[root->path_length] = '\0';
        if (root_take(root, answer) < 0) {
                root_free(root);
                return -1;
        }
        root->next = state->roots;
        state->roots = root;
        return 0;
}

void root_free_all(ModuleState *state) {
        while (state->roots) {
                Root *root = state->roots;

                state->roots = root->next;
                root_free(root);
        }
        state->arena = arena_free(state->arena);
}

static CollectPolicy policy_of(int gc) {
        switch (gc) {
        case SHIMPORT__GC_POLICY__GC_HOLD:
                return COLLECT_HOLD;
        case SHIMPORT__GC_POLICY__GC_FREEZE:
                return COLLECT_FREEZE;
        default:
                return COLLECT_STOCK;
        }
}

static void state_note_daemons(ModuleState *state, const AttachDaemon *daemon) {
        memcpy(state->endpoints, daemon->endpoints, sizeof(state->endpoints));
        for (int i = 0; i < ENDPOINTS_MAX; i++) {
                int r = daemon->results[i];

                state->answered[i] |= r == 0;
                state->deaf_to[i] |= r < 0 && !attach_is_absence(r) && !state->recovering;
        }
}

/* Ask for roots that are open. A daemon that fails us makes the state deaf, and so does its absence at start-up.
 * Return: 0; 1 if no daemon answered; -1: no memory. */
static int roots_ask(ModuleState *state, AttachRoot *roots, size_t n, bool late) {
        AttachRequest request = {
                .executable = PyBytes_AS_STRING(state->executable),
                .options = state->options,
                .late = late,
                .budget_ms = state->budget_ms,
                .deaf = state->deaf_to,
        };
        bool answered = false;
        AttachDaemon daemon;
        Py_ssize_t length;
        int r;

        request.tag = PyUnicode_AsUTF8AndSize(state->tag, &length);
        if (!request.tag)
                return -1;
        request.tag_length = (size_t)length;
        if (!state->deaf) {
                Py_BEGIN_ALLOW_THREADS
                r = attach_run(&request, roots, n, &daemon);
                Py_END_ALLOW_THREADS
                answered = r == 0;
                if (r < 0) {
                        state->deaf = !state->active || !(attach_is_absence(r) || state->recovering);
                        state_debug(state, "no daemon to attach to: %s",
                                    r == -EBUSY ? daemon.refusal : strerror(-r));
                        PyOS_snprintf(state->reason, sizeof(state->reason), "no daemon answered: %s",
                                      r == -EBUSY ? daemon.refusal : strerror(-r));
                } else {
                        state_note_daemons(state, &daemon);
                        collect_suggest(&state->collect, policy_of(daemon.gc));
                        switch_suggest(&state->regex.on_off, !daemon.no_patterns);
                        switch_suggest(&state->snippets.on_off, !daemon.no_snippets);
                        state->reason[0] = '\0';
                }
        }
        for (size_t i = 0; i < n; i++) {
                if (answered && roots[i].daemon < 0)
                        PyOS_snprintf(roots[i].reason, sizeof(roots[i].reason), "its daemon does not answer");
                if (!answered) {
                        roots[i].state = SHIMPORT__ROOT_STATE__UNKNOWN;
                        PyOS_snprintf(roots[i].reason, sizeof(roots[i].reason), "%s", state->reason);
                }
                state_debug(state, "%s: %s%s%s", roots[i].path, roots[i].image.base ? "served" : "stock",
                            roots[i].reason[0] ? ", " : "", roots[i].reason);
        }
        return !answered;
}

/* Asks for up to PACKET_ROOTS_MAX roots that are open, and keeps what comes of it. */
static int attach_batch(ModuleState *state, AttachRoot *roots, size_t n, bool late) {
        int r = roots_ask(state, roots, n, late);

        for (size_t i = 0; i < n; i++) {
                if (r >= 0)
                        r = root_add(state, &roots[i]);
                else
                        answer_unmap(&roots[i]);
        }
        return r < 0 ? r : 0;
}

int root_attach(ModuleState *state, PyObject *paths, bool late) {
        AttachRoot *batch = PyMem_Calloc(PACKET_ROOTS_MAX, sizeof(*batch));
        PyObject *borrowed = PySequence_List(paths); /* a copy: sys.path may change while we wait */
        size_t n = 0;
        int r = -1;

        if (!batch || !borrowed) {
                if (!batch)
                        PyErr_NoMemory();
                goto finish;
        }
        r = 0;
        for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(borrowed); i++) {
                PyObject *item = PyList_GET_ITEM(borrowed, i);
                const char *path;
                Py_ssize_t length;
                bool twice = false;

                if (!PyUnicode_CheckExact(item))
                        continue;
                path = PyUnicode_AsUTF8AndSize(item, &length);
                if (!path) {
                        PyErr_Clear(); /* surrogates: left to stock */
                        continue;
                }
                for (size_t j = 0; j < n; j++)
                        twice |= strcmp(batch[j].path, path) == 0;
                if (twice || *path != '/' || length > ROOT_PATH_MAX || strlen(path) != (size_t)length ||
                    root_known(state, path, (size_t)length) || attach_root_open(&batch[n], path) < 0)
                        continue;
                if (++n == PACKET_ROOTS_MAX) {
                        r = attach_batch(state, batch, n, late);
                        while (n > 0)
                                attach_root_close(&batch[--n]);
                }
        }
        if (r == 0 && n > 0)
                r = attach_batch(state, batch, n, late);
        while (n > 0)
                attach_root_close(&batch[--n]);
finish:
        PyMem_Free(batch);
        Py_XDECREF(borrowed);
        return r;
}

/* ---- freshness ---- */

/* Ask for a root again: there is a newer image, or a newer daemon, or another directory at its path, or there was none.
 * Return: as roots_ask(). */
static int root_attach_again(ModuleState *state, Root *root) {
        AttachRoot answer;
        int r, taken;

        root->mapping = mapping_unref(root->mapping);
        root->state = SHIMPORT__ROOT_STATE__UNKNOWN;
        if (attach_root_open(&answer, root->path) < 0)
                return 0; /* gone: stock says so */
        root->attaching = true;
        r = roots_ask(state, &answer, 1, false);
        root->attaching = false;
        attach_root_close(&answer);
        if (r < 0) {
                answer_unmap(&answer);
                return -1;
        }
        taken = root_take(root, &answer);
        return taken < 0 ? taken : r;
}

/* Has its image no more to say: the daemon that gave it has ended, or another directory is at its path? */
static bool root_is_lost(const Root *root) {
        struct stat st;

        return !mapping_is_live(root->mapping) || stat(root->path, &st) < 0 || st.st_dev != root->dev ||
               st.st_ino != root->ino;
}

/* Might there be an image by now? What is asked for while running is built when others ask for it, too. */
static bool root_is_hopeful(const Root *root) {
        return !root->mapping && root->state != SHIMPORT__ROOT_STATE__REFUSED &&
               root->state != SHIMPORT__ROOT_STATE__SEEN;
}

static bool roots_have_images(const ModuleState *state, int daemon, bool live) {
        for (const Root *root = state->roots; root; root = root->next)
                if (root->mapping && root->daemon == daemon && (!live || mapping_is_live(root->mapping)))
                        return true;
        return false;
}

/* One round trip, after which all changes complete by now are in the bits. */
static int barrier_pass(ModuleState *state, int daemon) {
        const char *socket = state->endpoints[daemon].address.sun_path;
        int r;

        if (!roots_have_images(state, daemon, false))
                return 0;
        Py_BEGIN_ALLOW_THREADS
        r = attach_barrier(socket, state->budget_ms);
        Py_END_ALLOW_THREADS
        if (r < 0) {
                state->deaf |= !attach_is_absence(r) &&
                               roots_have_images(state, daemon, true); /* else it is being restarted */
                state_debug(state, "no answer to a barrier: %s", strerror(-r));
        }
        return r;
}

static int root_barrier(ModuleState *state) {
        uint64_t doubts = state->doubts;
        int passed[ENDPOINTS_MAX], worst = 0, r = 0;

        for (int i = 0; i < ENDPOINTS_MAX; i++) {
                passed[i] = barrier_pass(state, i);
                if (passed[i] < 0)
                        worst = passed[i];
        }
        for (Root *root = state->roots; root && r == 0; root = root->next) {
                int own = root->mapping && root->daemon >= 0 ? passed[root->daemon] : worst;

                if (own < 0 &&
                    (!root->mapping || mapping_is_live(root->mapping))) /* nobody renews the promise */
                        root->mapping = mapping_unref(root->mapping);
                else if (own < 0)
                        continue; /* there is none to renew: see root_recover() */
                else if (!root->attaching && !state->deaf &&
                         (root->mapping ? root_is_lost(root) : root_is_hopeful(root)))
                        r = root_attach_again(state, root);
        }
        if (r >= 0 && state->settled < doubts) /* another thread's doubt may have come since */
                state->settled = doubts;
        return r < 0 ? r : 0;
}

void root_doubt(ModuleState *state) {
        state->doubts++;
}

void root_outdated(ModuleState *state, Mapping *mapping) {
        AttachReport report = { .outdated = mapping->image.header->generation };

        if (mapping->told_outdated)
                return;
        mapping->told_outdated = true;
        for (const Root *root = state->roots; root; root = root->next)
                if (root->mapping == mapping && root->daemon >= 0)
                        attach_report(state->endpoints[root->daemon].address.sun_path, &report);
}

/* Tell one daemon, which may know the roots of which something was wanted or not. */
static void report_to(ModuleState *state, int daemon, AttachReport report) {
        Py_ssize_t length = 0;

        report.daemon = daemon;
        report.tag = PyUnicode_AsUTF8AndSize(state->tag, &length);
        report.tag_length = (size_t)length;
        if (report.tag && state->wanted.roots)
                report.wanted = &state->wanted;
        else
                PyErr_Clear();
        attach_report(state->endpoints[daemon].address.sun_path, &report);
}

static uint64_t served_by(const ModuleState *state, int daemon) {
        uint64_t served = 0;

        for (const Root *root = state->roots; root; root = root->next)
                if (root->daemon == daemon)
                        served += root->served;
        return served;
}

/* What a daemon has served is for it to count; what nobody has, for the last, which is the system's if there are two. */
void root_report(ModuleState *state) {
        AttachReport rest = {
                .served = state->counters.served,
                .fallback = state->counters.fallback,
                .stale = state->counters.stale,
                .patterns = state->noted.patterns,
                .n_patterns = state->noted.n,
        };
        int last = ENDPOINTS_MAX - 1;

        while (last > 0 && !state->answered[last])
                last--;
        for (int i = 0; i < last; i++) {
                AttachReport own = {
                        .served = served_by(state, i),
                        .patterns = rest.patterns,
                        .n_patterns = rest.n_patterns,
                };

                if (!state->answered[i])
                        continue;
                rest.served -= own.served < rest.served ? own.served : rest.served;
                report_to(state, i, own);
        }
        if (state->answered[last])
                report_to(state, last, rest);
        wanted_clear(&state->wanted);
}

void root_wanted(ModuleState *state, Mapping *mapping, const ImageEntry *entry) {
        if (wanted_note(&state->wanted, &mapping->image, entry) != WANTED_E_FULL || state->deaf)
                return;
        for (int i = 0; i < ENDPOINTS_MAX; i++)
                if (state->answered[i])
                        report_to(state, i, (AttachReport){ 0 });
        wanted_clear(&state->wanted);
        (void)wanted_note(&state->wanted, &mapping->image, entry);
}

/* The daemon that gave the image has ended. The next one may be about to start, and hold us up for all of the budget: it
 * is asked now and then only, and that it is late is no reason never to ask it again. Return: as roots_ask(). */
static int root_recover(ModuleState *state, Root *root) {
        Mapping *dead;
        int r;

        if (attach_now_ms() < state->recover_at)
                return 0;
        dead = mapping_ref(root->mapping);
        state->recovering = true;
        r = root_attach_again(state, root);
        state->recovering = false;
        if (r <= 0) {
                mapping_unref(dead);
                state->recover_pause = 0;
                return r;
        }
        mapping_unref(root->mapping);
        root->mapping = dead;
        state->recover_pause = state->recover_pause ? state->recover_pause * 2 : RECOVER_PAUSE_MS;
        if (state->recover_pause > RECOVER_PAUSE_MAX_MS)
                state->recover_pause = RECOVER_PAUSE_MAX_MS;
        state->recover_at = attach_now_ms() + state->recover_pause;
        return r;
}

Mapping *root_current(ModuleState *state, Root *root) {
        int r = 0;

        if (state->settled != state->doubts && root_barrier(state) < 0)
                return NULL;
        if (!root->mapping || root->attaching)
                return NULL;
        if (mapping_is_superseded(root->mapping))
                r = root_attach_again(state, root);
        else if (!mapping_is_live(root->mapping))
                r = root_recover(state, root);
        if (r < 0)
                return NULL;
        return root->mapping && mapping_is_live(root->mapping) ? root->mapping : NULL;
}
