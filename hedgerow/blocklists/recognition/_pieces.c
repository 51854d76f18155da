/* Sums of the weights of pieces of names: PieceTable.add_up_in_python and TopicTable.add_up_in_python, in C. piece_table.py and topic_table.py
   describe the tables. And the fragments of rules in a URL: FragmentTable.find. fragment_table.py describes that table.

   Optional: without this module the Python code is used. It is built for the limited API, so that one file serves all versions of Python. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

#define MAX_PIECE 9
#define MAX_FRAGMENT 32
#define TOPICS 8

/* The table is in this machine's order of octets, as in Python, but need not be aligned. */
static uint32_t
number_at(const unsigned char *numbers, size_t slot)
{
    uint32_t number;
    memcpy(&number, numbers + slot * sizeof number, sizeof number);
    return number;
}

/* A table of whatever content is read within its bounds: no slot outside of it is looked at, and each piece ends after nine octets. */
static int64_t
sum_of(const unsigned char *numbers, size_t slots, const unsigned char *text, Py_ssize_t length, Py_ssize_t starts)
{
    const unsigned char *weights = numbers + slots * sizeof(uint32_t);
    int64_t total = 0;
    for (Py_ssize_t start = 0; start < starts; start++) {
        Py_ssize_t end = length - start > MAX_PIECE ? start + MAX_PIECE : length;
        uint32_t base = number_at(numbers, 0) >> 8;
        for (Py_ssize_t at = start; at < end; at++) {
            size_t slot = base ^ text[at];
            if (slot >= slots)
                break;
            uint32_t number = number_at(numbers, slot);
            if ((number & 0xFF) != text[at])
                break;
            total += (int32_t)number_at(weights, slot);
            base = number >> 8;
        }
    }
    return total;
}

static PyObject *
add_up(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t number)
{
    if (number != 3) {
        PyErr_SetString(PyExc_TypeError, "add_up takes a table, a text and a number of starts");
        return NULL;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(arguments[1], &length);
    if (text == NULL)
        return NULL;
    Py_ssize_t starts = PyLong_AsSsize_t(arguments[2]);
    if (starts == -1 && PyErr_Occurred())
        return NULL;
    Py_buffer table;
    if (PyObject_GetBuffer(arguments[0], &table, PyBUF_SIMPLE) < 0)
        return NULL;
    size_t slots = (size_t)table.len / (2 * sizeof(uint32_t));
    int64_t total = 0;
    if (slots > 0)
        total = sum_of(table.buf, slots, (const unsigned char *)text, length, starts < length ? starts : length);
    PyBuffer_Release(&table);
    return PyLong_FromLongLong(total);
}

/* As sum_of, but each slot has two numbers of 64 bits, in each of which stand the weights of four topics. */
static void
add_topics(const unsigned char *table, size_t slots, const unsigned char *text, Py_ssize_t length, uint64_t sums[2])
{
    const unsigned char *weights = table + slots * sizeof(uint32_t);
    for (Py_ssize_t start = 0; start < length; start++) {
        Py_ssize_t end = length - start > MAX_PIECE ? start + MAX_PIECE : length;
        uint32_t base = number_at(table, 0) >> 8;
        for (Py_ssize_t at = start; at < end; at++) {
            size_t slot = base ^ text[at];
            if (slot >= slots)
                break;
            uint32_t number = number_at(table, slot);
            if ((number & 0xFF) != text[at])
                break;
            uint64_t both[2];
            memcpy(both, weights + slot * sizeof both, sizeof both);
            sums[0] += both[0];
            sums[1] += both[1];
            base = number >> 8;
        }
    }
}

static PyObject *
add_up_topics(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t number)
{
    if (number != 2) {
        PyErr_SetString(PyExc_TypeError, "add_up_topics takes a table and a text");
        return NULL;
    }
    Py_ssize_t length;
    const char *text = PyUnicode_AsUTF8AndSize(arguments[1], &length);
    if (text == NULL)
        return NULL;
    Py_buffer table;
    if (PyObject_GetBuffer(arguments[0], &table, PyBUF_SIMPLE) < 0)
        return NULL;
    uint64_t sums[2] = {0, 0};
    size_t slots = (size_t)table.len / (sizeof(uint32_t) + sizeof sums);
    if (slots > 0)
        add_topics(table.buf, slots, (const unsigned char *)text, length, sums);
    PyBuffer_Release(&table);
    PyObject *found = PyTuple_New(TOPICS);
    for (int topic = 0; found != NULL && topic < TOPICS; topic++) {
        uint64_t *packed = &sums[topic / 4];
        int32_t sum = (int32_t)((*packed + 0x8000) & 0xFFFF) - 0x8000;
        *packed = (*packed - (uint64_t)(int64_t)sum) >> 16;
        PyObject *item = PyLong_FromLong(sum);
        if (item == NULL || PyTuple_SetItem(found, topic, item) < 0)
            Py_CLEAR(found);
    }
    return found;
}

/* A trie in the order of its levels: the number of nodes, the first child of each node and one more, values, and letters. */
struct trie {
    size_t nodes;
    const unsigned char *firsts, *values, *letters;
};

/* Add the values of all texts that begin at the first of `length` octets, which leads to `node`. As above, whatever the table contains. */
static int
add_values(const struct trie *trie, size_t node, const unsigned char *text, Py_ssize_t length, PyObject **found)
{
    for (Py_ssize_t at = 1;; at++) {
        uint32_t value = number_at(trie->values, node);
        if (value > 0) {
            if (*found == NULL && (*found = PySet_New(NULL)) == NULL)
                return -1;
            PyObject *number = PyLong_FromUnsignedLong(value - 1);
            int failed = number == NULL || PySet_Add(*found, number) < 0;
            Py_XDECREF(number);
            if (failed)
                return -1;
        }
        size_t child = number_at(trie->firsts, node), end = number_at(trie->firsts, node + 1);
        if (at >= length || at >= MAX_FRAGMENT || end > trie->nodes)
            return 0;
        while (child < end && trie->letters[child] != text[at])
            child++;
        if (child >= end)
            return 0;
        node = child;
    }
}

static PyObject *
find_fragments(PyObject *Py_UNUSED(module), PyObject *const *arguments, Py_ssize_t number)
{
    if (number != 2) {
        PyErr_SetString(PyExc_TypeError, "find_fragments takes a table and a text");
        return NULL;
    }
    Py_ssize_t length;
    const unsigned char *text = (const unsigned char *)PyUnicode_AsUTF8AndSize(arguments[1], &length);
    if (text == NULL)
        return NULL;
    Py_buffer table;
    if (PyObject_GetBuffer(arguments[0], &table, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *found = NULL;
    int failed = 0;
    const unsigned char *octets = table.buf;
    struct trie trie = {table.len < 8 ? 0 : number_at(octets, 0), octets + 4, NULL, NULL};
    if (trie.nodes > 0 && (uint64_t)table.len == 8 + 9 * (uint64_t)trie.nodes) {
        trie.values = trie.firsts + 4 * (trie.nodes + 1);
        trie.letters = trie.values + 4 * trie.nodes;
        unsigned char begins[256] = {0}; /* for each first letter, the place of its node among the children of node 0 plus one, or 0 */
        size_t first = number_at(trie.firsts, 0), end = number_at(trie.firsts, 1);
        for (size_t child = first; child < end && end <= trie.nodes; child++)
            begins[trie.letters[child]] = (unsigned char)(child - first + 1);
        for (Py_ssize_t start = 0; start < length && !failed; start++) {
            unsigned char place = begins[text[start]];
            if (place > 0)
                failed = add_values(&trie, first + place - 1, text + start, length - start, &found);
        }
    }
    PyBuffer_Release(&table);
    if (failed)
        Py_CLEAR(found);
    else if (found == NULL)
        found = PyTuple_New(0);
    return found;
}

static PyMethodDef methods[] = {
    {"add_up", (PyCFunction)(void (*)(void))add_up, METH_FASTCALL, "Return the sum of the weights of pieces that begin at the first octets of a text."},
    {"add_up_topics", (PyCFunction)(void (*)(void))add_up_topics, METH_FASTCALL, "Return the sum of the weights of pieces for each topic."},
    {"find_fragments", (PyCFunction)(void (*)(void))find_fragments, METH_FASTCALL, "Return the numbers of all fragments in a text."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots_of_module[] = {
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_pieces",
    .m_doc = "Sums of the weights of pieces of names, and fragments of URLs.",
    .m_methods = methods,
    .m_slots = slots_of_module,
};

PyMODINIT_FUNC
PyInit__pieces(void)
{
    return PyModuleDef_Init(&definition);
}
