"""Where LLVM's code of kernels, and of what is inlined into them, is optimised."""

from typing import Any

from llvmlite import binding as llvm
from numba.core.cgutils import normalize_ir_text
from numba.core.codegen import JITCodeLibrary

from fastem.kernels.runtime import apart


def _taken_text(module):
    """A module's text, and of the functions in it nothing is left.

    Instructions and blocks refer to each other: to find some hundred thousand objects in cycles
    took the garbage collector a twentieth of a first fit.
    """
    text = normalize_ir_text(str(module))
    for function in module.functions:
        for block in function.blocks:
            block.instructions.clear()
            block.terminator = None
        function.blocks.clear()
        function.args = ()
    module.globals.clear()
    return text


class Library(JITCodeLibrary):
    """A kernel's code.

    LLVM is done with it before Numba's engine has it. There, it would call Python's functions on
    its way, and an exception is lost in these: as Ctrl-C's was.
    """

    #: Whether nothing else is being compiled whose caller this is: others may compile meanwhile.
    outermost = False

    _machine_code = None

    def __init__(self, codegen, name):
        super().__init__(codegen, name)
        self._waiting: list[Any] = []  # the modules' names and texts

    def add_ir_module(self, ir_module):
        """Leave what unpacks the arguments of a call from Python as it is.

        To optimise it took a twentieth of a first fit, and spares 0.06 us of 1 us a call.
        """
        if ir_module.name == "wrapper":
            for function in ir_module.functions:
                if not function.is_declaration:
                    function.attributes.update(("noinline", "optnone"))
        self._waiting.append((ir_module.name, _taken_text(ir_module)))

    def _optimize_functions(self, ll_module):
        """Not those without a body, for each of which Numba makes passes that do nothing."""
        ll_module.data_layout = self._codegen._data_layout
        manager, builder = self._codegen._function_pass_manager()
        for function in ll_module.functions:
            if not function.is_declaration:
                manager.run(function, builder)

    def finalize(self):
        """Have all modules optimised and compiled, with what they link."""
        self._codegen._check_llvm_bugs()
        modules, self._waiting = self._waiting, []
        found = apart.finished(self, modules)
        if found is None:
            for name, text in modules:
                module = llvm.parse_assembly(text)
                module.name = name
                self.add_llvm_module(module)
            super().finalize()
            return
        bitcode, self._machine_code = found
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        name = self._final_module.name
        self._final_module = llvm.parse_bitcode(bitcode)
        self._final_module.name = name
        self._compiled_object = self._machine_code  # for the engine, which forgets it
        self._finalize_final_module()

    def _finalize_final_module(self):
        super()._finalize_final_module()
        if self._machine_code is not None:
            self._compiled, self._compiled_object = True, self._machine_code


class Ingredient(JITCodeLibrary):
    """Code that waits to be linked into callers, where it is read, and optimised with theirs."""

    def __init__(self, codegen, name):
        super().__init__(codegen, name)
        #: What it consists of, apart from what that calls.
        self.texts: list[str] = []

    @property
    def codegen(self):
        return self

    def set_env(self, name, env):
        """Refuse Python objects, which only code of its own could find; Numba calls this last."""
        if env.consts:
            raise NotImplementedError("an inlined function can't refer to Python objects")

    def get_pointer_to_function(self, name):
        self._ensure_finalized()
        return 0

    def add_ir_module(self, ir_module):
        """Note a module's text, in which several callers may define the same."""
        for function in ir_module.functions:
            if not (function.is_declaration or function.linkage):
                function.linkage = "linkonce_odr"
        self.texts.append(_taken_text(ir_module))

    def finalize(self):
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalized = True

    def _get_module_for_linking(self):
        """All of it, for a caller that isn't compiled apart."""
        self._ensure_finalized()
        if self._shared_module is None:
            # Not into an empty module: what isn't called there would be left out.
            module, *others = map(llvm.parse_assembly, self.texts)
            module.data_layout = self._codegen._data_layout
            for other in others:
                module.link_in(other)
            for library in dict.fromkeys(self._linking_libraries):
                module.link_in(library._get_module_for_linking(), preserve=True)
            self._shared_module = module
        return self._shared_module
