# Completion of vllmctl for bash 4.4 or newer. It needs no other package. One of:
#   source <(vllmctl completion bash)          # this shell; put it into ~/.bashrc for all
#   vllmctl completion bash > ~/.local/share/bash-completion/completions/vllmctl

_vllmctl() {
    local program=vllmctl reply line form more before
    # As it was called: another installation may know other options.
    if [[ ${1-} == */* ]]; then program=${1/#\~\//$HOME/}; fi
    COMPREPLY=()
    # The words of bash are cut at every `:` and `=`, so the line is handed over as it is.
    reply=$("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null) ||
        return 0
    {
        IFS=' ' read -r form more before
        case $form in
            files) compopt -o default ;;
            folders) compopt -o dirnames ;;
            *)
                if [[ $more == more ]]; then compopt -o nospace; fi
                while IFS= read -r line; do COMPREPLY+=("$line"); done
                ;;
        esac
    } <<<"$reply"
    return 0
}

complete -F _vllmctl vllmctl
