/* SPDX-License-Identifier: MIT */

#include "root_parts.h"
#include "store.h"

/* Programs for regular expressions that were compiled meanwhile are worth a build, but nobody waits for it. The pause is
 * doubled for each such build in a row. */
#define LESSON_PAUSE_MS 1000
#define LESSON_DOUBLINGS_MAX 9
#define LESSON_FORGOTTEN_MS (20 * 60 * 1000)

void root_learn(Root *root) {
        uint64_t now = store_now(root->store);

        if (root->state != ROOT_SERVED || root->lesson_due || !patterns_are_waiting(&root->patterns))
                return;
        if (now - root->lesson_at > LESSON_FORGOTTEN_MS)
                root->lessons = 0;
        root->lesson_due = true;
        root->due = now + root_pause(LESSON_PAUSE_MS, root->lessons, LESSON_DOUBLINGS_MAX);
        store_schedule(root->store, root);
}

void root_count_lesson(Root *root) {
        root->lessons++;
        root->lesson_at = store_now(root->store);
}

PatternNews root_look_pattern(const Root *root, const Shimport__Pattern *pattern) {
        if (!root_is_served(root) || !root->image.image.header->pattern_compiler)
                return PATTERN_KNOWN;
        return patterns_look(&root->patterns, pattern);
}

void root_add_pattern(Root *root, const Shimport__Pattern *pattern, PatternNews news) {
        if (news == PATTERN_NEW)
                patterns_see(&root->patterns, pattern);
        else if (patterns_add(&root->patterns, pattern) == 0)
                root_learn(root);
}
