/* iscsid as an executable of its own, for init scripts that find a daemon by its executable.
 *
 * Runs the program SCRIPT with the interpreter PYTHON inside this process, by its shared library
 * LIBRARY; where that is missing, in PYTHON's own process. etc/install compiles it (LAUNCHER=yes).
 * Py_BytesMain: https://docs.python.org/3/c-api/veryhigh.html; it needs no header.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char *words[argc + 3];
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_GLOBAL);
	int (*run)(int, char **) = library ? dlsym(library, "Py_BytesMain") : NULL;

	words[0] = PYTHON;
	words[1] = "-IS";
	words[2] = SCRIPT;
	memcpy(words + 3, argv + 1, argc * sizeof *argv); /* with the NULL at its end */
	if (run)
		return run(argc + 2, words);
	execv(PYTHON, words);
	perror(PYTHON);
	return 127;
}
