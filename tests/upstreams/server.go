// Go's ServeMux: a handler for each resource. server RESOURCE...
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
)

func main() {
	mux := http.NewServeMux()
	for _, resource := range os.Args[1:] {
		resource := resource
		mux.HandleFunc(resource, func(response http.ResponseWriter, request *http.Request) {
			fmt.Fprintf(response, "acted: %s", resource)
		})
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, mux))
}
